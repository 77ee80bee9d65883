-- Add what a process admitted on its own while this server was away, whatever the limits say.
--
-- KEYS     the sorted sets of the limits
-- ARGV[1]  five little-endian doubles for each key: amount (unused), window, bucket width, cost, age in microseconds
-- ARGV[2]  the largest amount that an exact limit has
local call, format = redis.call, string.format
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

for i = 1, #KEYS do
  local key = KEYS[i]
  local _, window, width, cost, age = struct.unpack('<ddddd', ARGV[1], i * 40 - 39)
  local instant = now - age
  if age < window then
    if width == 0 then
      local added = 0
      cost = math.min(cost, ARGV[2])
      while added < cost do
        local unit = format('%.0f', instant)
        added = added + call('ZADD', key, 'NX', unit, unit)
        instant = instant + 1
      end
      -- An exact limit is at most ARGV[2]: as many of the newest units tell all there is to tell.
      call('ZREMRANGEBYRANK', key, 0, -ARGV[2] - 1)
    else
      -- Into the newest bucket at least: the totals have to go on rising. It counts a little longer, never less.
      local tail = call('ZRANGE', key, -1, -1, 'WITHSCORES')
      local number = math.floor(instant / width)
      if tail[1] and tail[1] + 0 > number then number = tail[1] + 0 end
      call('ZADD', key, format('%.0f', (tail[2] or 0) + cost), format('%.0f', number))
    end
    call('PEXPIRE', key, format('%.0f', window / 500))
  end
end
return 1
