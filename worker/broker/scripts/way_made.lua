-- The first command of a transaction that appends to streams.  KEYS: these.  Returns those that were moved away.

local moved = {}
for _, key in ipairs(KEYS) do
  if make_way(key, true) then
    moved[#moved + 1] = key
  end
end
return moved
