-- Puts parked events back into their backlog, behind what is there, one page at a time.
-- KEYS: 1 state, 2 urgent, 3 bulk.  ARGV: 1 the page that came before, 2 this page, then for each chunk its
-- lane ('urgent' or 'bulk'), its number of events, their bytes, the events (packed), and their checksum.
-- Returns 1, or 0 when another page came first: then nothing was done.
--
-- The page's name is kept, so that who finds it knows what the ledger need not keep any longer; and so
-- that one who slept meanwhile cannot put the same events back a second time.

if (redis.call('HGET', KEYS[1], 'unparked') or '') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'unparked', ARGV[2])
-- Adds to a count; one that damage made no number begins again.
local function add(field, by)
  local reply = redis.pcall('HINCRBY', KEYS[1], field, by)
  if type(reply) == 'table' then
    redis.call('HSET', KEYS[1], field, by, 'recount', 1)
  end
end

for place = 3, #ARGV, 5 do
  local lane = ARGV[place] == 'urgent' and KEYS[2] or KEYS[3]
  make_way(lane)
  redis.call('XADD', lane, '*', 'n', ARGV[place + 1], 'bytes', ARGV[place + 2], 'events', ARGV[place + 3],
    'crc', ARGV[place + 4])
  add('unclaimed_events', ARGV[place + 1])
  add('unclaimed_bytes', ARGV[place + 2])
  add('backlog_events', ARGV[place + 1])
end
return 1
