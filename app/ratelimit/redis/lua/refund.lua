-- Give back what decide.lua took.
--
-- KEYS     the sorted sets of the limits
-- ARGV[1]  three little-endian doubles for each key: bucket width in microseconds, stamp, cost
local call, format = redis.call, string.format

for i = 1, #KEYS do
  local key = KEYS[i]
  local width, stamp, cost = struct.unpack('<ddd', ARGV[1], i * 24 - 23)
  if width == 0 then
    call('ZREMRANGEBYSCORE', key, format('%.0f', stamp), format('%.0f', stamp + cost - 1))
  else
    local rank = call('ZRANK', key, format('%.0f', stamp))
    if rank then
      local before = 0
      if rank > 0 then before = call('ZRANGE', key, rank - 1, rank - 1, 'WITHSCORES')[2] + 0 end
      local later = call('ZRANGE', key, rank, -1, 'WITHSCORES')
      cost = math.min(cost, later[2] - before)
      -- The oldest first: no bucket's total ever falls below the one before it.
      for j = 1, #later, 2 do
        local total = later[j + 1] - cost
        if j == 1 and total == before then
          call('ZREM', key, later[j])
        else
          call('ZADD', key, format('%.0f', total), later[j])
        end
      end
    end
  end
end
return 1
