--- The status page's style sheet: light and dark, from a phone to a desk.

return [==[
:root {
  color-scheme: light dark;
  --ground: #f6f7f8; --paper: #ffffff; --rule: #e1e4e8; --faint: #eef0f3;
  --ink: #1b2026; --soft: #5b6570; --accent: #2f6fd0; --good: #18794e; --warn: #8f5a00; --bad: #c02b2b; --idle: #a3abb5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1215; --paper: #171b20; --rule: #2a3037; --faint: #20262c;
    --ink: #e4e8ec; --soft: #98a3ae; --accent: #6ea4f5; --good: #4cc38a; --warn: #e0a84b; --bad: #ff7b72;
    --idle: #66707b;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
.page { max-width: 1240px; margin: 0 auto; padding: 0 24px 40px; }
a { color: inherit; text-underline-offset: 2px; text-decoration-color: var(--idle); }
a:hover { text-decoration-color: currentColor; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
h1, h2, h3, p, dl, dd, ul, ol { margin: 0; padding: 0; }
ul, ol { list-style: none; }

.top { display: flex; align-items: baseline; gap: 6px 12px; flex-wrap: wrap; padding: 16px 0 12px; }
.brand { font-weight: 650; letter-spacing: -0.01em; }
.top .facts { color: var(--soft); font-size: 13px; }
.live { margin-left: auto; color: var(--soft); font-size: 13px; white-space: nowrap; }
.live::before {
  content: ""; display: inline-block; width: 7px; height: 7px; margin-right: 7px; border-radius: 50%;
  background: var(--good); vertical-align: 1px;
}
.live.late::before { background: var(--bad); border-radius: 1px; }
.live.paused::before { background: var(--idle); }

h1 { font-size: 24px; line-height: 1.25; font-weight: 620; letter-spacing: -0.018em; padding: 8px 0 18px; }
h1 .mark { margin-right: 10px; }
h2 { font-size: 14px; font-weight: 620; }
h3 { font-size: 14px; font-weight: 620; overflow-wrap: anywhere; }
.head { display: flex; align-items: baseline; gap: 4px 16px; flex-wrap: wrap; margin-bottom: 10px; }
.head .note { color: var(--soft); font-size: 13px; }
section { margin-top: 28px; }
.panel { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); } .soft { color: var(--soft); }
.empty { padding: 22px 16px; color: var(--soft); }
.off { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.alarm {
  display: flex; align-items: center; gap: 8px 16px; flex-wrap: wrap; margin-bottom: 16px; padding: 10px 14px;
  background: var(--paper); border: 1px solid var(--bad); border-left-width: 4px; border-radius: 6px;
}
.alarm[hidden] { display: none; }
.alarm p { flex: 1 1 260px; }
button {
  font: inherit; font-size: 13px; color: var(--ink); background: var(--faint); border: 1px solid var(--rule);
  border-radius: 6px; padding: 5px 12px; cursor: pointer;
}
button:hover { border-color: var(--idle); }
.stale { opacity: 0.7; }

.figures { display: grid; grid-template-columns: repeat(6, 1fr); overflow: hidden; }
.figures > div { padding: 12px 16px 13px; box-shadow: -1px -1px 0 var(--rule); }
.figures dt { color: var(--soft); font-size: 12.5px; }
.figures dd { font-size: 21px; line-height: 1.3; font-weight: 560; letter-spacing: -0.015em; white-space: nowrap; }
.figures .more { font-size: 12.5px; font-weight: 400; letter-spacing: 0; color: var(--soft); white-space: normal; }

.traffic { padding: 12px 16px 10px; }
.plot { position: relative; }
.plot svg { display: block; width: 100%; height: 96px; }
.plot .most { position: absolute; top: -3px; left: 0; padding-right: 6px; background: var(--paper); }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; }
.most { color: var(--soft); font-size: 12px; line-height: 1.2; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; font-size: 13px; }
.legend li::before {
  content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 6px;
  background: var(--accent);
}
.legend .l-failed::before { background: var(--bad); }
.legend .l-others::before { background: var(--idle); }
.f-answered { fill: var(--accent); } .f-failed { fill: var(--bad); } .f-others { fill: var(--idle); }
.f-hover { fill: transparent; } .f-hover:hover { fill: var(--ink); fill-opacity: 0.08; }
.s-rule { stroke: var(--rule); stroke-width: 1; vector-effect: non-scaling-stroke; }

.row { display: grid; gap: 4px 24px; padding: 13px 16px; border-top: 1px solid var(--rule); align-items: start; }
.row:first-child { border-top: 0; }
.titles { padding-top: 8px; padding-bottom: 8px; color: var(--soft); font-size: 12.5px; }
.lines .row { grid-template-columns: minmax(160px, 1.2fr) 94px minmax(150px, 1.4fr) minmax(150px, 1.4fr) 84px 130px; }
.keys .row { grid-template-columns: minmax(130px, 1.4fr) 130px 110px 110px 90px minmax(170px, 1.6fr); }
.cell .label { display: none; }
.value { font-weight: 560; }
.sub { color: var(--soft); font-size: 12.5px; overflow-wrap: anywhere; }
.state { font-size: 13px; font-weight: 560; white-space: nowrap; }
.state i { font-style: normal; margin-right: 5px; }

.spread svg { display: block; width: 100%; height: 30px; border-bottom: 1px solid var(--rule); }
.spread .f-bar { fill: var(--accent); fill-opacity: 0.75; }
.spread .s-half { stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.quantiles { display: flex; flex-wrap: wrap; gap: 0 9px; font-size: 12px; margin-top: 3px; }
.quantiles span { white-space: nowrap; }
.quantiles b { font-weight: 400; color: var(--soft); }
.scale { display: flex; justify-content: space-between; font-size: 11.5px; line-height: 1.3; color: var(--soft); }

.bar { display: block; width: 100%; height: 5px; margin-top: 5px; border-radius: 3px; background: var(--faint); }
.bar rect { fill: var(--accent); } .bar.quiet rect { fill: var(--idle); }
.bar.warn rect { fill: var(--warn); } .bar.bad rect { fill: var(--bad); }

.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 24px; }
.tally { padding: 6px 16px 12px; }
.tally li { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 0 12px; padding-top: 7px; font-size: 13px; }
.tally .bar { grid-column: 1 / -1; height: 4px; margin-top: 3px; }
.more-keys { padding: 10px 16px; border-top: 1px solid var(--rule); }
footer { margin-top: 28px; color: var(--soft); font-size: 13px; }
footer p + p { margin-top: 2px; }

@media (max-width: 1020px) {
  .figures { grid-template-columns: repeat(3, 1fr); }
  .titles { display: none; }
  .cell .label { display: block; color: var(--soft); font-size: 12px; }
  .lines .row { grid-template-columns: repeat(4, 1fr); gap: 10px 20px; }
  .lines .name { grid-column: span 2; }
  .lines .spread { grid-column: span 2; order: 1; }
  .lines .volume { order: 2; grid-column: 1 / -1; display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 12px; }
  .keys .row { grid-template-columns: repeat(4, 1fr); gap: 10px 20px; }
  .keys .name, .keys .budget { grid-column: 1 / -1; }
}
@media (max-width: 640px) {
  .page { padding: 0 14px 32px; }
  .top { padding-top: 12px; }
  .top #facts { order: 1; flex-basis: 100%; }
  h1 { font-size: 20px; padding: 6px 0 14px; }
  section { margin-top: 22px; }
  .figures { grid-template-columns: 1fr 1fr; }
  .figures > div { padding: 10px 12px; }
  .figures dd { font-size: 19px; }
  .row, .traffic, .tally { padding-left: 12px; padding-right: 12px; }
  .plot svg { height: 80px; }
  .lines .row, .keys .row { grid-template-columns: 1fr 1fr; gap: 10px 16px; }
  .lines .name, .keys .name, .keys .budget { grid-column: 1 / -1; }
  .lines .spread { grid-column: auto; }
  .quantiles { display: block; }
  .quantiles span { display: flex; justify-content: space-between; }
  .pair { grid-template-columns: 1fr; }
}
@media print { .live, .alarm, button { display: none; } }
]==]
