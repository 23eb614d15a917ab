-- Makes a group of readers that is given all of a stream, and the stream if there is none.
-- KEYS: 1 stream.  ARGV: 1 group.
-- Returns 'OK', or 'there' if the group was there already.

-- In a full Redis, too: this needs no memory, and lets the rest be written.
redis.call('DEL', 'siem:none')

local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err then
  if string.find(made.err, 'BUSYGROUP', 1, true) then
    return 'there'
  end
  return made
end
-- No entry of a new stream is given an id of the past: who adds one may choose it. It belongs into this
-- step: Redis 6.2 lets an empty stream go back behind ids that a group has given out, and what is added under
-- such an id no reader of the group is given. It fails if the latest entry is ahead of the clock, and where a
-- provider forbids it.
redis.pcall('XSETID', KEYS[1], redis.call('TIME')[1] .. '000-0')
return 'OK'
