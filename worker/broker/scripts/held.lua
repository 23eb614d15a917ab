-- Stands before write_when_full.lua: nothing is done if entries are not held any more, as after a long sleep.
-- KEYS: 1 stream.  ARGV: 1 group, 2 consumer, 3 how many entries, their ids; then what write_when_full.lua takes.
-- Returns 'taken' if another consumer has taken one over, or has finished it; else as write_when_full.lua.

local count = tonumber(ARGV[3])
for place = 4, 3 + count do
  local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[place], ARGV[place], 1, ARGV[2])
  -- Where the group is gone, so are the others.
  if not pending.err and #pending == 0 then
    return 'taken'
  end
end

local words = {}
for place = 4 + count, #ARGV do
  words[#words + 1] = ARGV[place]
end
local ARGV = words

