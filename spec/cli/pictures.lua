-- Writes the README's pictures of the command line: terminals as they look beside a simulated provider.
--
--   lua5.4 -l spec.helper spec/cli/pictures.lua        examples/img/bench.svg, batch.svg, doctor.svg

local lab = require "spec.cli.lab"
local process = require "spec.support.process"
local provider = require "spec.support.provider"
local screen = require "spec.cli.screen"

local FOLDER = "examples/img/"
local COLUMN, ROW, MARGIN = 8.43, 22, 20
local CARD, TEXT = "#14181d", "#c6d2de"
local COLOURS = { ["1"] = "#ffffff", ["2"] = "#8fa3b5", ["31"] = "#f28e8e", ["32"] = "#7ee0a1", ["33"] = "#f5c451" }

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

-- A line of the screen as spans, each in its colour.
local function spans(line)
  local parts, colour = {}, nil
  for before, codes in (line .. "\27[0m"):gmatch "(.-)\27%[([%d;]*)m" do
    if before ~= "" then
      parts[#parts + 1] = ('<tspan fill="%s">%s</tspan>'):format(colour or TEXT, escape(before))
    end
    for code in codes:gmatch "%d+" do
      colour = COLOURS[code]
    end
  end
  return table.concat(parts)
end

-- The lines of a screen as a picture.
local function draw(name, lines, columns)
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-size="14" '
      .. 'font-family="ui-monospace,Menlo,Consolas,monospace">'):format(columns * COLUMN + 2 * MARGIN,
      #lines * ROW + 2 * MARGIN - 6),
    ('<rect width="100%%" height="100%%" rx="8" fill="%s"/>'):format(CARD),
  }
  for i, line in ipairs(lines) do
    out[#out + 1] = ('<text x="%d" y="%d" xml:space="preserve">%s</text>'):format(MARGIN, MARGIN + i * ROW - 8,
      spans(line))
  end
  out[#out + 1] = "</svg>\n"
  process.write(FOLDER .. name .. ".svg", table.concat(out, "\n"))
end

-- The screen without its empty end, under the command line that made it; paths and ports are nobody's business.
local function lines_of(shown, command)
  local lines = { "\27[2m$ " .. command .. "\27[0m" }
  for line in shown:text(true):gsub("%s+$", ""):gmatch "[^\n]*" do
    lines[#lines + 1] = line
  end
  return lines
end

local function sicken(p)
  for name, seed in pairs { a = 11, b = 12, c = 13 } do
    p:profile(name, { preset = "overseas", scale = 0.1, seed = seed, hang_for = 1 })
  end
end

local HEDGED = "hedge = { budget = 0.25, burst = 50, max = 2 }, retry = { max_attempts = 8 }, "
  .. "timeout = { attempt = 1 }, routing = 'round_robin', prices = { ['sim-large'] = { input = 3, output = 15 } }"

local function picture_of_bench(l)
  sicken(l.provider)
  l:configure({ "a", "b", "c" }, HEDGED)
  process.write(l:path "config.lua", (process.read(l:path "config.lua"):gsub("priority = %d", "priority = 1")))
  local shown = screen.start(l:words("bench", "--compare", "-n", "2000"), { width = 118 })
  shown:wait_end(120)
  draw("bench", lines_of(shown, "surefoot bench --compare --calls 2000"), 112)
  shown:stop()
end

local function picture_of_batch(l)
  for _, name in ipairs { "a", "b", "c" } do
    l.provider:profile(name, { latency = { median = 0.5, sigma = 0.4 } })
  end
  local rows = {}
  for i = 1, 2000 do
    rows[i] = ('{"custom_id":"%d","body":{"messages":[{"role":"user","content":"question %d"}]}}\n'):format(i, i)
  end
  process.write(l:path "in.jsonl", table.concat(rows))
  local shown = screen.start(l:words("batch", l:path "in.jsonl", "-o", l:path "out.jsonl", "-j", "50"),
    { width = 112, env = { LC_ALL = "C.UTF-8" } })
  shown:wait "[4-9]%d %%  .*left"
  draw("batch", lines_of(shown, "surefoot batch in.jsonl -o out.jsonl"), 106)
  shown:key "C-c"
  shown:stop()
end

local function picture_of_doctor(l)
  local refusing = provider.refusing()
  l.provider:reset()
  l.provider:profile("b", { keys = { "sk-other" }, delay = 0.2 })
  l:configure { "a", "b", refusing.url }
  local shown = screen.start(l:words "doctor", { width = 112 })
  shown:wait_end()
  draw("doctor", lines_of(shown, "surefoot doctor"), 106)
  shown:stop()
  refusing:close()
end

local l = lab.start { lines = { "a", "b", "c" } }
picture_of_bench(l)
picture_of_batch(l)
picture_of_doctor(l)
l:stop()
