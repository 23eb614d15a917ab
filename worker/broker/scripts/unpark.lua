-- Puts parked events back into their backlog, behind what is there, one page at a time.
-- KEYS: 1 state, 2 urgent, 3 bulk.  ARGV: 1 the page that came before, 2 this page, then for each chunk its
-- lane ('urgent' or 'bulk'), its number of events, their bytes, and the events (packed).
-- Returns 1, or 0 when another page came first: then nothing was done.
--
-- The page's name is kept, so that whoever finds it knows what the ledger need not keep any longer; and so
-- that one who slept meanwhile cannot put the same events back a second time.

if (redis.call('HGET', KEYS[1], 'unparked') or '') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'unparked', ARGV[2])
for place = 3, #ARGV, 4 do
  local lane = ARGV[place] == 'urgent' and KEYS[2] or KEYS[3]
  redis.call('XADD', lane, '*', 'n', ARGV[place + 1], 'bytes', ARGV[place + 2], 'events', ARGV[place + 3])
  redis.call('HINCRBY', KEYS[1], 'unclaimed_events', ARGV[place + 1])
  redis.call('HINCRBY', KEYS[1], 'unclaimed_bytes', ARGV[place + 2])
  redis.call('HINCRBY', KEYS[1], 'backlog_events', ARGV[place + 1])
end
return 1
