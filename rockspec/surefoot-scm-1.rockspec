rockspec_format = "3.0"
package = "surefoot"
version = "scm-1"

source = {
  url = "git+https://github.com/surefoot/surefoot.git",
}

description = {
  summary = "Makes calls to LLM HTTP APIs arrive: quickly, once, whole, within a deadline",
  detailed = [[
A C core for transport, backoff, rate limiting, circuit breaking, concurrency limiting, routing over several endpoints,
fallbacks and deadlines, with a thin Lua layer. The same calls block in a script and yield in an event loop.]],
  license = "MIT",
  labels = { "http", "llm", "networking" },
}

supported_platforms = { "linux" }

dependencies = {
  "lua >= 5.1, < 5.5",
  "lua-cjson >= 2.1.0",
  "argparse >= 0.7.1",
}

-- The library alone: LuaRocks does not look for headers where Debian keeps them.
external_dependencies = {
  CURL = { library = "curl" },
}

build = {
  type = "builtin",
  install = {
    bin = { surefoot = "lua/surefoot/cli/program.lua" },
  },
  modules = {
    ["surefoot.core"] = {
      sources = {
        "csrc/binding/allowance.c",
        "csrc/binding/call.c",
        "csrc/binding/call_files.c",
        "csrc/binding/call_report.c",
        "csrc/binding/client.c",
        "csrc/binding/doorbell.c",
        "csrc/binding/engine.c",
        "csrc/binding/files.c",
        "csrc/binding/module.c",
        "csrc/binding/plain.c",
        "csrc/binding/policy.c",
        "csrc/binding/policy_balancer.c",
        "csrc/binding/policy_guards.c",
        "csrc/binding/policy_hedge.c",
        "csrc/binding/process.c",
        "csrc/binding/region.c",
        "csrc/binding/simulation.c",
        "csrc/binding/stats.c",
        "csrc/binding/wire.c",
        "csrc/engine/admission.c",
        "csrc/engine/attempt.c",
        "csrc/engine/attempt_end.c",
        "csrc/engine/attempt_request.c",
        "csrc/engine/body.c",
        "csrc/engine/call.c",
        "csrc/engine/client.c",
        "csrc/engine/comeback.c",
        "csrc/engine/commons.c",
        "csrc/engine/doorbell.c",
        "csrc/engine/engine.c",
        "csrc/engine/hedge.c",
        "csrc/engine/memory.c",
        "csrc/engine/numbers.c",
        "csrc/engine/queue.c",
        "csrc/engine/reactor_epoll.c",
        "csrc/engine/report.c",
        "csrc/engine/retry.c",
        "csrc/engine/sink.c",
        "csrc/engine/stream.c",
        "csrc/engine/timers.c",
        "csrc/engine/transport_curl.c",
        "csrc/engine/transport_curl_answer.c",
        "csrc/engine/transport_curl_carrier.c",
        "csrc/engine/transport_curl_link.c",
        "csrc/engine/transport_sim.c",
        "csrc/policy/adaptive_rate.c",
        "csrc/policy/backoff.c",
        "csrc/policy/balancer.c",
        "csrc/policy/breaker.c",
        "csrc/policy/concurrency.c",
        "csrc/policy/gcra.c",
        "csrc/policy/hedge.c",
        "csrc/policy/histogram.c",
        "csrc/policy/outcome.c",
        "csrc/policy/quota_pace.c",
        "csrc/policy/ramp.c",
        "csrc/policy/random.c",
        "csrc/policy/retry_budget.c",
        "csrc/policy/retry_rules.c",
        "csrc/policy/spend.c",
        "csrc/share/allowance.c",
        "csrc/share/region.c",
        "csrc/wire/base64.c",
        "csrc/wire/dates.c",
        "csrc/wire/headers.c",
        "csrc/wire/hints.c",
        "csrc/wire/members.c",
        "csrc/wire/sha256.c",
        "csrc/wire/sse.c",
        "csrc/wire/utf8.c",
      },
      libraries = { "curl", "m", "pthread" },
      incdirs = { "$(CURL_INCDIR)" },
      libdirs = { "$(CURL_LIBDIR)" },
    },
  },
}

test = {
  type = "busted",
}
