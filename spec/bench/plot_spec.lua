local plot = require "spec.bench.plot"

describe("plot.lines", function()
  local function draw(options)
    options.title, options.x, options.y = options.title or "title", options.x or "time", options.y or "share"
    return plot.lines(options)
  end

  local function paths(svg)
    local list = {}
    for d in svg:gmatch '<path d="([^"]+)"' do
      list[#list + 1] = d
    end
    return list
  end

  local function labels(svg)
    local set = {}
    for text in svg:gmatch "<text[^>]*>([^<]*)</text>" do
      set[text] = true
    end
    return set
  end

  it("draws every series between the ends of its axes, y upwards", function()
    local svg = draw { series = { { name = "up", points = { { 0, 0 }, { 10, 5 } } },
      { name = "down", points = { { 0, 5 }, { 10, 0 } } } } }
    local list = paths(svg)
    assert.equal(2, #list)
    local x1, y1, x2, y2 = list[1]:match "^M([%d.]+) ([%d.]+)L([%d.]+) ([%d.]+)$"
    local x3, y3, x4, y4 = list[2]:match "^M([%d.]+) ([%d.]+)L([%d.]+) ([%d.]+)$"
    assert.same({ x1, x2, y1, y2 }, { x3, x4, y4, y3 })
    assert.is_true(tonumber(x1) < tonumber(x2) and tonumber(y1) > tonumber(y2))
    assert.is_true(labels(svg).up and labels(svg).down and labels(svg).time and labels(svg).share)
  end)

  it("puts decades at equal distances on a logarithmic axis", function()
    local svg = draw { log_x = true, log_y = true,
      series = { { name = "a", points = { { 1, 0.01 }, { 10, 0.1 }, { 100, 1 } } } } }
    local x = {}
    for value in paths(svg)[1]:gmatch "[ML]([%d.]+) " do
      x[#x + 1] = tonumber(value)
    end
    assert.is_true(math.abs((x[2] - x[1]) - (x[3] - x[2])) < 0.2)
    for _, text in ipairs { "1", "10", "100", "0.01", "0.1" } do
      assert.is_true(labels(svg)[text], text)
    end
  end)

  it("labels ticks as it is told, and escapes what it is told", function()
    local svg = draw { title = 'a < b & "c"', note = "<note>", x_format = function(value)
      return value .. " s"
    end, series = { { name = "x>y", points = { { 0, 1 }, { 4, 2 } } } } }
    assert.matches("a &lt; b &amp; &quot;c&quot;", svg, 1, true)
    assert.is_true(labels(svg)["&lt;note&gt;"] and labels(svg)["x&gt;y"])
    assert.matches(">2[.0]* s</text>", svg)
    local function count(pattern)
      return select(2, svg:gsub(pattern, ""))
    end
    assert.equal(count "<%a", count "</" + count "/>")
  end)

  it("has a ground of its own and fonts of the reader's", function()
    local svg = draw { series = { { name = "a", points = { { 1, 1 }, { 2, 2 } } } } }
    assert.matches('^<svg xmlns="http://www.w3.org/2000/svg"', svg)
    assert.matches('<rect width="100%%" height="100%%" rx="8" fill="#14181d"/>', svg)
    assert.is_nil(svg:find "url%(")
    assert.is_nil(svg:find "@import")
  end)

  it("tells series apart by colour and dash, and keeps a given style", function()
    local series = {}
    for i = 1, 8 do
      series[i] = { name = "s" .. i, points = { { 1, i }, { 2, i + 1 } } }
    end
    local seen = {}
    for colour, rest in draw({ series = series }):gmatch '<path [^>]*stroke="(#%x+)"([^>]*)' do
      seen[#seen + 1] = colour .. rest
    end
    assert.equal(8, #seen)
    for i = 1, 7 do
      assert.are_not.equal(seen[i], seen[i + 1])
    end
    local styled = draw { series = { { name = "a", style = 3, points = { { 1, 1 }, { 2, 2 } } } } }
    assert.equal(seen[3], table.concat({ styled:match '<path [^>]*stroke="(#%x+)"([^>]*)' }))
  end)

  it("leaves out points that nobody could see, but not the last", function()
    local points = {}
    for i = 1, 100000 do
      points[i] = { i, math.sin(i / 10000) }
    end
    local svg = draw { series = { { name = "many", points = points } } }
    assert.is_true(#svg < 60000)
    local whole = paths(draw { series = { { name = "a", points = { { 0, 0 }, { 1, 1 }, { 1.00001, 1 } } } } })[1]
    assert.equal(3, select(2, whole:gsub("[ML]", "")))
  end)

  it("draws a level line, and refuses what an axis cannot show", function()
    assert.equal(1, #paths(draw { series = { { name = "level", points = { { 1, 7 }, { 2, 7 } } } } }))
    assert.has_error(function()
      draw { series = {} }
    end, "plot: there is no point to show")
    assert.has_error(function()
      draw { log_y = true, series = { { name = "a", points = { { 1, 0 } } } } }
    end, 'plot: "a" has a point at 0, which its axis cannot show')
    assert.has_error(function()
      draw { series = { { name = "a", points = { { 1, 1 / 0 } } } } }
    end)
  end)
end)
