-- Where a text that was cut goes on, in pieces of every size.
local seams = require "surefoot.seam"

-- What is shown of a text that comes in two pieces, and where another one was told by nil.
local function shown(seam, text, at)
  local first = seam:take(text:sub(1, at))
  local second = first and seam:take(text:sub(at + 1))
  local held = second and seam:finish()
  return held and first .. second .. held, seam
end

local cases = {
  -- name, how the seam is made, the new text, what of it is shown (false: another text), bytes shown before
  { "repeats", "repeating", { "One, two" }, "One, two, three", ", three", 8 },
  { "repeats and ends there", "repeating", { "One, two" }, "One, two", "", 8 },
  { "repeats white space too", "repeating", { "One \n" }, "One \nx", "x", 5 },
  { "differs within", "repeating", { "One, two" }, "One, TWO", false },
  { "differs in white space", "repeating", { "One \n" }, "One  x", false },
  { "differs at once", "repeating", { "One" }, "Two", false },
  { "ends early", "repeating", { "One, two" }, "One", false },
  { "is empty", "repeating", { "One" }, "", false },
  { "repeats nothing, where nothing was shown", "repeating", { "" }, "One", "One", 0 },
  { "goes on", "going_on", { "One,", "" }, " two", " two", 0 },
  { "goes on with the space that was shown", "going_on", { "One,", " " }, " two", "two", 1 },
  { "goes on without it", "going_on", { "One.", "\n" }, "Two", "Two", 0 },
  { "goes on with a part of it", "going_on", { "One:", "\n\n" }, "\n- two", "- two", 1 },
  { "goes on with more than it", "going_on", { "One:", "\n" }, "\n\n- two", "\n- two", 1 },
  { "goes on with nothing but a part of it", "going_on", { "One:", "\n\n" }, "\n", "", 1 },
  { "goes on with the same words", "going_on", { "la la", " " }, " la la", "la la", 1 },
  { "goes on with nothing", "going_on", { "One", " " }, "", "", 0 },
  { "repeats, as it may", "going_on", { "One,", " ", true }, "One, two", "two", 5 },
  { "repeats, and nothing else", "going_on", { "One,", "", true }, "One,", "", 4 },
  { "repeats without the space", "going_on", { "One,", " ", true }, "One,two", "two", 4 },
  { "does not repeat", "going_on", { "One,", " ", true }, " two", "two", 1 },
  { "begins to repeat, but goes on", "going_on", { "One, two,", "", true }, "One, three", "One, three", 0 },
  { "begins to repeat, and ends", "going_on", { "One, two,", "", true }, "One", "One", 0 },
}

describe("a seam", function()
  for _, case in ipairs(cases) do
    local name, kind, arguments, text, expected, before = (table.unpack or unpack)(case)
    it(name, function()
      for at = 0, #text do
        local result, seam = shown(seams[kind]((table.unpack or unpack)(arguments)), text, at)
        assert.equal(expected, result or false, "cut at " .. at)
        if expected then
          assert.equal(before, seam.at)
          assert.is_true(seam.over)
        end
      end
      assert.equal(before, seams[kind]((table.unpack or unpack)(arguments)):within(text))
    end)
  end

  it("tells how much of a whole text was shown before, whatever it has taken", function()
    local seam = seams.repeating "One, two"
    seam:take "One, "
    assert.equal(8, seam:within "One, two, three")
    assert.is_nil(seam:within "One")
    assert.equal(5, seam.at)
    seam = seams.going_on("One,", " ", true)
    assert.equal("two", seam:take " two")
    assert.equal(1, seam:within " two")
  end)

  it("says how far a text that differs went", function()
    local seam = seams.repeating "One, two"
    assert.equal("", seam:take "One")
    assert.is_nil(seam:take ", three")
    assert.equal(6, seam.at)
  end)
end)
