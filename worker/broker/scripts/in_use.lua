-- Says of which integrations anything is in use: an entry of a lane, or a slot. For many of them at once.
-- ARGV: 1 prefix of states, 2 prefix of backlogs, 3 prefix of slots, then ids.
-- Returns the places of these among the ids, and of those that cannot be read.

-- As breaker.lua has it.
local MOST_SLOTS = 1000

local function is_a_slot(integration)
  local slots = redis.pcall('HGET', ARGV[1] .. integration, 'slots')
  slots = type(slots) == 'string' and tonumber(slots) or 4
  for slot = 1, slots < MOST_SLOTS and slots or MOST_SLOTS do
    if redis.pcall('HEXISTS', ARGV[3] .. integration .. ':' .. slot, 'state') ~= 0 then
      return true
    end
  end
  return false
end

local found = {}
for place = 4, #ARGV do
  local lanes = ARGV[2] .. ARGV[place]
  if redis.pcall('XLEN', lanes .. ':urgent') ~= 0 or redis.pcall('XLEN', lanes .. ':bulk') ~= 0
    or is_a_slot(ARGV[place]) then
    found[#found + 1] = {place - 4}
  end
end
return found
