-- Writes documents of integrations and their states, and notes the change.
-- KEYS: 1 version, 2 changes, 3 integrations, 4 the notes of what was deleted.
-- ARGV: 1 whether these are all that there are (1) or some (0), 2 how many words for `note_change` follow, these;
--       then for each integration: id, document, whether it is deleted (1 or 0), the number of words of its
--       state, these: fields and values.
-- Returns 1, or 0 when these are some and Redis has none yet: then nothing was done.

if ARGV[1] ~= '1' and redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end

local named = tonumber(ARGV[2])
local place = 3 + named
while ARGV[place] do
  local id, document, deleted, words = ARGV[place], ARGV[place + 1], ARGV[place + 2], tonumber(ARGV[place + 3])
  local state = 'siem:state:' .. id
  redis.call('HSET', KEYS[3], id, document)
  redis.call('HSET', state, unpack(ARGV, place + 4, place + 3 + words))
  if deleted ~= '1' then
    redis.call('HDEL', KEYS[4], id)
  end
  -- The change may have fixed it: the next probe need not wait.
  redis.call('HDEL', state, 'probe_at')
  place = place + 4 + words
end
local note = {}
for at = 3, 2 + named do
  note[#note + 1] = ARGV[at]
end
note_change(KEYS[1], KEYS[2], note)
return 1
