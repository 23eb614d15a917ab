-- Counts the events that wait in the ingress; needs ingress_events.lua.
-- KEYS: the streams.  ARGV: 1 how many entries to look into at each end, 2 how many bytes at each end are enough.
-- Returns {entries, events}.

local length, sum = 0, 0
for _, stream in ipairs(KEYS) do
  local waiting = redis.pcall('XLEN', stream)
  waiting = type(waiting) == 'number' and waiting or 0
  length, sum = length + waiting, sum + events_of(stream, waiting, tonumber(ARGV[1]), tonumber(ARGV[2]))
end
return {length, sum}
