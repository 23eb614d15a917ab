-- Says of which integrations anything waits, or is on its way, for many of them at once: to ask for each costs ten
-- times as much, and as a rule there is nothing.
-- ARGV: 1 prefix of states, 2 prefix of backlogs, then ids.
-- Returns for each of which there is: its place among the ids, events that no slot has claimed, and their bytes. Of what
-- cannot be read it says so, too.

local found = {}
for place = 3, #ARGV do
  local lanes = ARGV[2] .. ARGV[place]
  if redis.pcall('XLEN', lanes .. ':urgent') ~= 0 or redis.pcall('XLEN', lanes .. ':bulk') ~= 0 then
    local counts = redis.pcall('HMGET', ARGV[1] .. ARGV[place], 'unclaimed_events', 'unclaimed_bytes')
    found[#found + 1] = {place - 3, counts[1] or false, counts[2] or false}
  end
end
return found
