-- Shows what waits in a queue of Celery's, and the messages that are taken next.
-- KEYS: 1 the queue.  ARGV: 1 how many messages at most, 2 how long each may be, in bytes.
-- Returns {how many wait, messages, the one that is taken last first}; longer ones, which are no work orders,
-- are left out.

local messages = {}
for _, message in ipairs(redis.call('LRANGE', KEYS[1], -tonumber(ARGV[1]), -1)) do
  if #message <= tonumber(ARGV[2]) then
    messages[#messages + 1] = message
  end
end
return {redis.call('LLEN', KEYS[1]), messages}
