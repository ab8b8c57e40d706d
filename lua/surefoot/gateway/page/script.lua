--- The status page's script: asks for status.json every two seconds, and shows it. Names come into the page as text
--- alone; nothing is fetched but that document.

return [==[
"use strict";
(() => {
  const EVERY = 2000, SLOWEST = 30000, PATIENCE = 8000, MANY = 40;

  // ------------------------------------------------------------------ a tree of what there is to see; the page follows
  const h = (tag, attributes, ...children) => ({
    tag, attributes: attributes || {}, children: children.flat(2).filter((child) => child != null && child !== false),
  });
  const set = (dom, name, value) => {
    if (name.startsWith("on")) dom[name] = value;
    else if (value == null || value === false) dom.removeAttribute(name);
    else dom.setAttribute(name, value);
  };
  const make = (node, drawn) => {
    if (typeof node !== "object") return document.createTextNode(node);
    drawn = drawn || node.tag === "svg";
    const dom = drawn ? document.createElementNS("http://www.w3.org/2000/svg", node.tag)
      : document.createElement(node.tag);
    for (const name in node.attributes) set(dom, name, node.attributes[name]);
    dom.append(...node.children.map((child) => make(child, drawn)));
    return dom;
  };
  const follow = (dom, before, now, drawn) => {
    if (typeof now !== "object") {
      if (typeof before === "object") dom.replaceWith(make(now));
      else if (String(before) !== String(now)) dom.data = now;
      return;
    }
    if (typeof before !== "object" || before.tag !== now.tag) {
      dom.replaceWith(make(now, drawn));
      return;
    }
    drawn = drawn || now.tag === "svg";
    for (const name in before.attributes) if (!(name in now.attributes)) set(dom, name, null);
    for (const name in now.attributes) {
      if (before.attributes[name] !== now.attributes[name]) set(dom, name, now.attributes[name]);
    }
    const parts = [...dom.childNodes];
    now.children.forEach((child, i) => {
      if (i < before.children.length) follow(parts[i], before.children[i], child, drawn);
      else dom.append(make(child, drawn));
    });
    parts.slice(now.children.length).forEach((part) => part.remove());
  };
  const shown = new Map();
  const show = (id, tree) => {
    const place = document.getElementById(id), before = shown.get(id);
    if (before) follow(place.firstChild, before, tree);
    else place.replaceChildren(make(tree));
    shown.set(id, tree);
  };

  // ----------------------------------------------------------------------------------------------------------- numbers
  const plain = new Intl.NumberFormat("en"), small = new Intl.NumberFormat("en",
    { notation: "compact", maximumFractionDigits: 1 });
  const count = (n) => n < 10000 ? plain.format(Math.round(n)) : small.format(n);
  const tokens = (n) => n < 1000 ? plain.format(n) : small.format(n);
  const cents = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const dollars = (x) => x > 0 && x < 0.0001 ? "<$0.0001" : "$" + (x === 0 ? "0" : x < 0.01 ? x.toFixed(4)
    : x < 10000 ? cents.format(x) : small.format(x));
  const percent = (share) => share == null ? "–" : share === 1 ? "100 %" : share >= 10 ? ">999 %"
    : (Math.floor(share * 1000) / 10).toFixed(1) + " %";
  const duration = (s) => {
    if (s == null) return "–";
    if (s < 0.01) return (s * 1000).toFixed(1) + " ms";
    if (s < 0.9995) return Math.round(s * 1000) + " ms";
    if (s < 100) return s.toFixed(s < 9.995 ? 2 : 1) + " s";
    return s < 600 ? Math.round(s) + " s" : Math.round(s / 60) + " min";
  };
  const span = (s) => {
    const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    let at = units.findIndex(([size]) => s >= size);
    if (at < 0) return "0 s";
    const first = Math.floor(s / units[at][0]), rest = s - first * units[at][0];
    const next = units[at + 1], second = next ? Math.floor(rest / next[0]) : 0;
    return first + " " + units[at][1] + (second > 0 && at < 2 ? " " + second + " " + next[1] : "");
  };
  const clock = (s) => new Date(s * 1000).toLocaleTimeString("en-GB");
  const date = (s) => new Date(s * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  const words = (kind) => kind.replaceAll("_", " ");
  const many = (n, one, more) => count(n) + " " + (n === 1 ? one : more);
  const sum = (list) => list.reduce((all, n) => all + n, 0);

  // ----------------------------------------------------------------------------------------------------------- drawing
  const bar = (share, mood) => h("svg", { class: "bar " + (mood || ""), "aria-hidden": "true",
    viewBox: "0 0 100 5", preserveAspectRatio: "none" },
    h("rect", { x: 0, y: 0, height: 5, width: Math.max(share > 0 ? 1.5 : 0, Math.min(100, share * 100)) }));

  const drawTraffic = (t) => {
    const others = t.refused.map((n, i) => n + t.left[i]);
    const totals = t.answered.map((n, i) => n + t.failed[i] + others[i]);
    const most = Math.max(4, ...totals), step = 600 / totals.length, bars = [];
    totals.forEach((total, i) => {
      const tell = clock(t.first + i * t.seconds) + ": " + t.answered[i] + " answered, " + t.failed[i] + " failed, "
        + others[i] + " refused or left";
      let y = 100;
      for (const [name, n] of [["answered", t.answered[i]], ["others", others[i]], ["failed", t.failed[i]]]) {
        if (n === 0) continue;
        const height = Math.max(2, n / most * 100);
        y -= height;
        bars.push(h("rect", { class: "f-" + name, x: i * step + 1, y, width: step - 2, height }));
      }
      bars.push(h("rect", { class: "f-hover", x: i * step, y: 0, width: step, height: 100 }, h("title", null, tell)));
    });
    const label = "Requests of the last five minutes: " + sum(t.answered) + " answered, " + sum(t.failed) + " failed, "
      + sum(others) + " refused or left";
    return h("div", { class: "plot" },
      h("svg", { viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img", "aria-label": label },
        [0.5, 50, 99.5].map((y) => h("line", { class: "s-rule", x1: 0, x2: 600, y1: y, y2: y })), bars),
      h("div", { class: "most", "aria-hidden": "true" }, count(most) + " in " + t.seconds + " s"));
  };

  // The buckets that any of the lines has something in, and one more on each side.
  const rangeOf = (all, lines, what) => {
    let low = Infinity, high = -Infinity;
    for (const line of lines) {
      (line.recent[what] ? line.recent[what].counts : []).forEach((n, i) => {
        if (n > 0) { low = Math.min(low, i); high = Math.max(high, i); }
      });
    }
    if (high < 0) return null;
    low = Math.max(0, low - 1);
    high = Math.min(all.buckets.length, Math.max(high + 1, low + 7));
    return { low, high, from: low > 0 ? all.buckets[low - 1] : 0, to: all.buckets[high] };
  };
  const place = (all, range, seconds) => {
    const bounds = all.buckets;
    let i = bounds.findIndex((bound) => seconds <= bound);
    if (i < 0) i = bounds.length;
    const below = i > 0 ? bounds[i - 1] : bounds[0] / 2, above = i < bounds.length ? bounds[i] : below * 2;
    return i - range.low + Math.log(seconds / below) / Math.log(above / below);
  };
  const spread = (all, range, d, title) => {
    if (!d || !range) return h("p", { class: "sub" }, "none in 5 min");
    const counts = d.counts.slice(range.low, range.high + 1), most = Math.max(...counts), wide = counts.length * 10;
    const half = Math.max(0, Math.min(wide, place(all, range, d.p50) * 10));
    const tell = title + " of " + count(d.count) + ": half within " + duration(d.p50) + ", 90 % within "
      + duration(d.p90) + ", 99 % within " + duration(d.p99);
    return [
      h("svg", { viewBox: "0 0 " + wide + " 30", preserveAspectRatio: "none", role: "img", "aria-label": tell },
        h("title", null, tell),
        counts.map((n, i) => n > 0 && h("rect", { class: "f-bar", x: i * 10 + 0.5, width: 9,
          y: 30 - Math.max(1.5, n / most * 29), height: Math.max(1.5, n / most * 29) })),
        h("line", { class: "s-half", x1: half, x2: half, y1: 0, y2: 30 })),
      h("div", { class: "scale", "aria-hidden": "true" }, h("span", null, duration(range.from || 0.0001)),
        h("span", null, range.to ? duration(range.to) : "more")),
      h("div", { class: "quantiles" }, [["p50", d.p50], ["p90", d.p90], ["p99", d.p99]].map(([name, s]) =>
        h("span", null, h("b", null, name + " "), duration(s)))),
    ];
  };

  // ------------------------------------------------------------------------------------------------------------- parts
  const cell = (kind, label, ...children) => h("div", { class: "cell " + kind }, h("span", { class: "label" }, label),
    children);
  const value = (text, mood) => h("div", { class: "value " + (mood || "") }, text);
  const sub = (...text) => h("div", { class: "sub" }, text);
  const section = (name, title, note, ...children) => h("section", { "aria-labelledby": name },
    h("div", { class: "head" }, h("h2", { id: name }, title), note && h("span", { class: "note" }, note)), children);
  const titles = (...names) => h("div", { class: "row titles", "aria-hidden": "true" },
    names.map((name) => h("div", null, name)));

  const STATES = {
    closed: { mark: "●", mood: "good", text: "up" }, half_open: { mark: "◐", mood: "warn", text: "being tried" },
    open: { mark: "■", mood: "bad", text: "shut off" }, none: { mark: "○", mood: "soft", text: "not watched" },
  };
  const stateOf = (line) => {
    const state = STATES[line.breaker] || STATES.none, seen = line.breakers || {}, all = sum(Object.values(seen));
    const some = all > 1 && seen[line.breaker] < all;
    const left = line.breaker === "open" && line.breaker_seconds_left;
    const tell = state.text + (some ? " in " + seen[line.breaker] + " of " + all + " workers" : "")
      + (left ? ", again in " + span(Math.ceil(left)) : "");
    return h("div", { class: "state " + state.mood, title: "circuit breaker: " + words(line.breaker || "none") },
      h("i", { "aria-hidden": "true" }, state.mark), tell);
  };
  const mood = (share, low, lower) => share == null || share >= low ? "" : share >= lower ? "warn" : "bad";
  const errorsOf = (errors) => Object.entries(errors).sort((a, b) => b[1] - a[1]);
  const listed = (errors) => errors.map(([kind, n]) => count(n) + " " + words(kind)).join(" · ");

  const verdict = (all) => {
    const open = all.lines.filter((line) => line.breaker === "open").length, lines = all.lines.length;
    const tried = all.lines.filter((line) => line.breaker === "half_open").length;
    const every = lines === 1 ? "The line is " : lines === 2 ? "Both lines are " : "All " + lines + " lines are ";
    if (open === 0 && tried === 0) {
      return ["good", "●", every + "up"];
    } else if (open === lines) {
      return ["bad", "■", every + "shut off"];
    }
    const n = open > 0 ? open : tried;
    return ["warn", "◐", n + " of " + lines + " lines " + (n === 1 ? "is " : "are ")
      + (open > 0 ? "shut off" : "being tried again")];
  };
  const headline = (all) => {
    const [tone, mark, text] = verdict(all);
    return h("h1", { "aria-live": "polite" }, h("span", { class: "mark " + tone, "aria-hidden": "true" }, mark), text);
  };

  const figure = (name, text, more, tone) => h("div", null, h("dt", null, name), h("dd", { class: tone || "" }, text,
    h("div", { class: "more" }, more)));
  const figures = (all) => {
    const r = all.requests, recent = r.recent;
    return h("dl", { class: "figures panel" },
      figure("In flight", count(r.in_flight), all.queue > 0 ? count(all.queue) + " waiting" : "none waiting"),
      figure("Requests", count(recent.per_minute) + " / min", count(r.total) + " in all"),
      figure("Answered", percent(recent.success_rate), count(recent.answered) + " of "
        + count(recent.answered + recent.failed) + " in 5 min", mood(recent.success_rate, 0.99, 0.9)),
      figure("Latency", duration(recent.latency && recent.latency.p50), recent.latency
        ? "p99 " + duration(recent.latency.p99) : "none in 5 min"),
      figure("First token", duration(recent.first_token && recent.first_token.p50), recent.first_token
        ? "p99 " + duration(recent.first_token.p99) : "no streams in 5 min"),
      figure("Spent", dollars(all.cost), dollars(recent.cost) + " in 5 min"));
  };

  const traffic = (all) => {
    const t = all.traffic, totals = [sum(t.answered), sum(t.failed), sum(t.refused), sum(t.left)];
    const legend = h("ul", { class: "legend" }, h("li", { class: "l-answered" }, count(totals[0]) + " answered"),
      h("li", { class: "l-failed" }, count(totals[1]) + " failed"),
      h("li", { class: "l-others" }, count(totals[2]) + " refused, " + count(totals[3]) + " left"));
    return section("traffic", "Traffic", tokens(sum(t.tokens)) + " tokens in the last five minutes",
      h("div", { class: "panel traffic" }, sum(totals) > 0
        ? [drawTraffic(t), h("div", { class: "axis", "aria-hidden": "true" }, h("span", null, "5 min ago"),
          h("span", null, "now")), legend]
        : h("p", { class: "soft" }, "No request has ended in the last five minutes.")));
  };

  const lineRow = (all, ranges) => (line) => {
    const recent = line.recent, errors = errorsOf(recent.errors), limit = line.limit;
    return h("li", { class: "row" },
      h("div", { class: "cell name" }, h("h3", null, line.name), stateOf(line),
        sub(line.name === line.address + ":" + line.port ? line.provider : line.address + " · " + line.provider),
        errors.length > 0 && sub("failed: " + listed(errors))),
      cell("rate", "Answered", value(percent(recent.success_rate), mood(recent.success_rate, 0.98, 0.8)),
        sub(recent.attempts > 0 ? many(recent.attempts, "attempt", "attempts") : "not asked")),
      cell("spread", "Latency", spread(all, ranges.latency, recent.latency, "Latency")),
      cell("spread", "First token", spread(all, ranges.first_token, recent.first_token, "First token")),
      cell("load", "In flight", value(limit ? line.in_flight + " of " + limit : count(line.in_flight)),
        limit && bar(line.in_flight / limit, mood(1 - line.in_flight / limit, 0.2, 0.05))),
      cell("volume", "In all", value(dollars(line.cost)), sub(many(line.attempts, "attempt", "attempts")),
        sub(tokens(line.tokens.input) + " in, " + tokens(line.tokens.output) + " out")));
  };
  const lines = (all) => {
    const ranges = { latency: rangeOf(all, all.lines, "latency"), first_token: rangeOf(all, all.lines, "first_token") };
    return section("lines", "Lines", "the last five minutes",
      h("div", { class: "panel lines" },
        titles("Line", "Answered", "Latency", "First token", "In flight", "In all"),
        h("ul", null, all.lines.map(lineRow(all, ranges)))));
  };

  const budgetOf = (key) => {
    if (key.limit == null) return h("div", { class: "sub" }, "no budget");
    const share = key.spent / key.limit;
    return [value(dollars(key.spent) + " of " + dollars(key.limit), mood(1 - share, 0.2, 0.02)),
      bar(share, mood(1 - share, 0.2, 0.02)),
      sub(percent(share) + " spent", key.resets_in != null && " · resets in " + span(key.resets_in))];
  };
  const keyRow = (key) => h("li", { class: "row" },
    h("div", { class: "cell name" }, h("h3", null, key.name)),
    cell("requests", "Requests", value(count(key.requests)), sub([[key.failed, " failed"], [key.refused, " refused"]]
      .filter(([n]) => n > 0).map(([n, what]) => count(n) + what).join(", "))),
    cell("load", "In flight", value(key.concurrency ? key.in_flight + " of " + key.concurrency : count(key.in_flight)),
      key.concurrency && bar(key.in_flight / key.concurrency, mood(1 - key.in_flight / key.concurrency, 0.2, 0.01))),
    cell("tokens", "Tokens", value(tokens(key.tokens.input) + " in"), sub(tokens(key.tokens.output) + " out")),
    cell("cost", "Spent in all", value(dollars(key.cost))),
    cell("budget", "Budget", budgetOf(key)));
  let showsAll = false;
  const keys = (all) => {
    const rest = showsAll ? 0 : Math.max(0, all.keys.length - MANY);
    return section("keys", "Keys", all.keys.length > 0 && count(all.keys.length) + " in the configuration",
      h("div", { class: "panel keys" }, all.keys.length === 0
        ? h("p", { class: "empty" }, "There are no keys: everybody who reaches the address may call.")
        : [titles("Key", "Requests", "In flight", "Tokens", "Spent in all", "Budget"),
          h("ul", null, all.keys.slice(0, all.keys.length - rest).map(keyRow)),
          rest > 0 && h("div", { class: "more-keys" }, h("button", { type: "button", onclick: showAllKeys },
            "Show " + rest + " more"))]));
  };

  const REASONS = { 200: "OK", 400: "bad request", 401: "unauthorized", 402: "payment required", 403: "forbidden",
    404: "not found", 405: "method not allowed", 408: "timeout", 409: "conflict", 413: "too large",
    422: "unprocessable", 429: "too many requests", 499: "caller left", 500: "error", 502: "bad gateway",
    503: "unavailable", 504: "gateway timeout", 529: "overloaded" };
  const counted = (list, none) => list.length === 0 ? h("p", { class: "empty" }, none)
    : h("ol", { class: "tally" }, list.map(([name, n, tone]) => h("li", null, h("span", null, name),
      h("span", null, count(n)), bar(n / Math.max(...list.map((one) => one[1])), tone))));
  const outcomes = (all) => {
    const statuses = all.requests.by_status.map(({ status, count: n }) =>
      [status + " " + (REASONS[status] || ""), n, status >= 500 ? "bad" : status >= 400 ? "quiet" : ""]);
    const errors = errorsOf(all.requests.errors).map(([kind, n]) => [words(kind), n, "quiet"]);
    return h("div", { class: "pair" },
      section("statuses", "Requests by status", "since the beginning",
        h("div", { class: "panel" }, counted(statuses, "No request has ended yet."))),
      section("errors", "Requests without an answer", "by what went wrong",
        h("div", { class: "panel" }, counted(errors, "None yet."))));
  };

  const facts = (all) => h("span", { class: "facts" }, "gateway " + all.version + " · "
    + many(all.workers, "worker", "workers") + " · up " + span(all.uptime));
  const foot = (all) => h("div", null,
    h("p", null, "Counted since " + date(all.since) + ", over reloads and restarts of workers."),
    h("p", null, "An attempt is one HTTP exchange with a line; a request may take several. ",
      h("a", { href: "metrics" }, "metrics"), " for Prometheus, ", h("a", { href: "status.json" }, "status.json"),
      " for other programs."));
  const draw = (all) => {
    show("facts", facts(all));
    show("status", h("div", null, headline(all), figures(all), traffic(all), lines(all), keys(all), outcomes(all)));
    show("foot", foot(all));
  };

  // ------------------------------------------------------------------------------------------------------------ asking
  let last = null, heard = 0, failures = 0, timer = null, due = 0, problem = "";
  const live = (kind, text) => {
    const place = document.getElementById("live");
    place.className = "live " + kind;
    place.textContent = text;
  };
  const tellTrouble = () => {
    const left = Math.max(0, Math.ceil((due - Date.now()) / 1000));
    show("problem", h("span", null, problem + (last
      ? " What is shown is as it was at " + clock(heard / 1000) + "." : "")));
    show("next", h("span", null, left > 0 ? "Asking again in " + left + " s" : "Asking again"));
  };
  const trouble = (on) => {
    document.getElementById("alarm").hidden = !on;
    document.getElementById("status").classList.toggle("stale", on && last !== null);
    if (on) {
      live("late", "no answer");
      if (!last) document.getElementById("status").replaceChildren();
    }
  };
  const wait = (ms) => {
    clearTimeout(timer);
    due = Date.now() + ms;
    timer = setTimeout(ask, ms);
  };
  async function ask() {
    clearTimeout(timer);
    if (document.hidden) {
      live("paused", "paused");
      return;
    }
    try {
      const answer = await fetch("status.json", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (!answer.ok) {
        throw new Error(answer.status === 401 || answer.status === 403
          ? "The gateway does not show its numbers to you (HTTP " + answer.status + ")."
          : "The gateway answers with HTTP " + answer.status + ".");
      }
      last = await answer.json();
      heard = Date.now();
      draw(last);
      failures = 0;
      trouble(false);
      live("", "live · " + clock(last.now));
      wait(EVERY);
    } catch (error) {
      failures += 1;
      problem = error.name === "TimeoutError" ? "The gateway does not answer in time."
        : error instanceof TypeError ? "The gateway cannot be reached."
        : error instanceof SyntaxError ? "The gateway's answer cannot be read." : error.message;
      wait(Math.min(SLOWEST, EVERY * 2 ** failures));
      trouble(true);
      tellTrouble();
    }
  }
  function showAllKeys() {
    showsAll = true;
    draw(last);
  }
  document.getElementById("again").onclick = ask;
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  setInterval(() => { if (failures > 0) tellTrouble(); }, 1000);
  ask();
})();
]==]
