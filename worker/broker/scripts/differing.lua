-- Says which integrations stand here under another revision, or with another number of slots, than they should.
-- ARGV: 1 prefix of states, 2 how many slots they should have, then integration and revision of each.
-- Returns the places of those that do, and of those whose state cannot be read.

local found = {}
for place = 3, #ARGV, 2 do
  local state = redis.pcall('HMGET', ARGV[1] .. ARGV[place], 'slots', 'revision')
  if state[1] ~= ARGV[2] or state[2] ~= ARGV[place + 1] then
    found[#found + 1] = (place - 3) / 2
  end
end
return found
