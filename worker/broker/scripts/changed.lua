-- Notes which integrations changed, for readers that know the version before; then sets another version.
-- `words`: another version, how many changes are kept, the ids that changed (none: too many to name).
-- The list is an aid: what damage has made of it is thrown away, and readers then read everything.

local function note_change(version, changes, words)
  local before, ids = redis.call('GET', version), {}
  for place = 3, #words do
    ids[#ids + 1] = words[place]
  end
  local noted = false
  if before and #ids > 0 then
    local reply = redis.pcall('RPUSH', changes, cjson.encode({ before, words[1], ids }))
    noted = type(reply) == 'number'
  end
  if noted then
    redis.call('LTRIM', changes, 0 - tonumber(words[2]), -1)
  else
    redis.call('DEL', changes)
  end
  redis.call('SET', version, words[1])
end
