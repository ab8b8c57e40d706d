"""The load of one row of lines_bench.lua by LiteLLM's Router for Python, one deployment a line, with its own retries,
cooldowns and choice of the deployment: the same workers, the same starts, the same checks as lines_load.lua. Its pauses
between attempts and its cooldowns follow the scale of the clock.

    python lines_litellm.py JOB.json
"""
import asyncio
import json
import os
import sys
import time

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched when the package is loaded
import litellm  # noqa: E402
from litellm.constants import DEFAULT_COOLDOWN_TIME_SECONDS  # noqa: E402

litellm.suppress_debug_info = True

FILLER = " Whoever wants every answer keeps count of them all." * 3
WARM_UP = 100

with open(sys.argv[1], encoding="utf-8") as file:
    job = json.load(file)


class Scaled(litellm.Router):
    def _time_to_sleep_before_retry(self, *given, **named):
        return super()._time_to_sleep_before_retry(*given, **named) * job["scale"]


def router_of(urls, scale):
    deployments = [
        {
            "model_name": "sim-large",
            "litellm_params": {"model": "openai/sim-large", "api_base": url, "api_key": "sk-bench"},
        }
        for url in urls
    ]
    return Scaled(
        model_list=deployments,
        timeout=job["timeout"] * scale,
        cooldown_time=DEFAULT_COOLDOWN_TIME_SECONDS * scale,
        **job["options"],
    )


def outcome_of(question, answer):
    choice = answer.choices[0]
    return "ok" if choice.message.content == "echo: " + question and choice.finish_reason == "stop" else "false"


def name_of(error):
    status = getattr(error, "status_code", None)
    return "timeout" if isinstance(error, litellm.Timeout) else str(status or type(error).__name__)


async def main():
    router = router_of([line["url"] for line in job["lines"]], job["scale"])
    count = job["calls"]
    calls = {"start": [0] * count, "latency": [0] * count, "outcome": ["unknown"] * count}

    async def ask(number, began):
        question = f"call {number + 1} of {job['name']}." + FILLER
        start = time.perf_counter()
        try:
            answer = await router.acompletion("sim-large", [{"role": "user", "content": question}])
            outcome = outcome_of(question, answer)
        except Exception as error:
            outcome = name_of(error)
        calls["latency"][number] = time.perf_counter() - start
        calls["start"][number] = start - began
        calls["outcome"][number] = outcome

    # What happens at the first calls only (loading, compiling) is over when the clock starts; the lines hear none of it.
    warm = router_of([job["warm_url"]], 1)
    for _ in range(0, WARM_UP, job["workers"]):
        await asyncio.gather(
            *(warm.acompletion("sim-large", [{"role": "user", "content": "warm"}]) for _ in range(job["workers"]))
        )

    with open(job["output"] + ".begun", "w", encoding="utf-8"):
        pass
    began = time.perf_counter()
    state = {"next_start": began, "number": 0}

    async def worker():
        while state["number"] < count:
            mine = state["number"]
            state["number"] += 1
            at = max(time.perf_counter(), state["next_start"])
            if job.get("starts"):
                state["next_start"] = at + 1 / job["starts"]
                await asyncio.sleep(max(0, at - time.perf_counter()))
            await ask(mine, began)

    await asyncio.gather(*(worker() for _ in range(job["workers"])))
    calls["wall"] = time.perf_counter() - began
    with open(job["output"], "w", encoding="utf-8") as file:
        json.dump(calls, file)


asyncio.run(main())
