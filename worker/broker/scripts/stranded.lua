-- Gives a consumer the entries that the group counts as handed out although no consumer holds them: none would
-- ever read these again. Redis keeps no such entries by itself; it has them after it read a log of its commands
-- that lacks some.
-- KEYS: 1 stream.  ARGV: 1 group, 2 consumer, 3 how many entries at the most.
-- Returns them, as XCLAIM does.
--
-- All that is done is deleted, so what lies in front is soon such an entry: who finds another there need not look
-- further.

local stream, group = KEYS[1], ARGV[1]

local function handed_out_up_to()
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, one in ipairs(groups.err and {} or groups) do
    local facts = {}
    for place = 1, #one, 2 do
      facts[one[place]] = one[place + 1]
    end
    if facts.name == group then
      return facts['last-delivered-id']
    end
  end
end

local last = handed_out_up_to()
if not last then
  return {}
end

local function stranded(count)
  local found = {}
  for _, entry in ipairs(redis.call('XRANGE', stream, '-', last, 'COUNT', count)) do
    if #redis.call('XPENDING', stream, group, entry[1], entry[1], 1) == 0 then
      found[#found + 1] = entry[1]
    end
  end
  return found
end

if #stranded(1) == 0 then
  return {}
end
local command = { 'XCLAIM', stream, group, ARGV[2], 0 }
for _, id in ipairs(stranded(ARGV[3])) do
  command[#command + 1] = id
end
command[#command + 1] = 'FORCE'
return redis.call(unpack(command))
