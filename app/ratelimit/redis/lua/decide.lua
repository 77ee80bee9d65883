-- Decide all limits of a request together, all or nothing, on this server's clock.
--
-- KEYS     one sorted set for each limit
-- ARGV[1]  four little-endian doubles for each key: amount, window and bucket width in microseconds, cost
-- ARGV[2]  the time in microseconds, in tests only
-- Returns  doubles: place of the limit that refused (0: none), wait, now; for each limit: remaining, reset, stamp
--
-- Exact form (width 0): a member, and its score, is the microsecond of one unit.
-- Bucketed form: a member is a bucket's number, its score the running total at that bucket's end, so every sum is
-- one subtraction. The member "0" carries the running total of what has left the window.
local call, unpack_struct, format, floor = redis.call, struct.unpack, string.format, math.floor
local keys, spec = KEYS, ARGV[1]
local now = ARGV[2]
if now then
  now = now + 0
else
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local now_text = format('%.0f', now)
local refused, wait = 0, 0
-- Made with room for three limits; it grows for more.
local answer = {0, 0, now, 0, 0, 0, 0, 0, 0, 0, 0, 0}
local place, at = 3, 1
local amount, window, width, cost

for i = 1, #keys do
  local key = keys[i]
  amount, window, width, cost, at = unpack_struct('<dddd', spec, at)
  local count, first, stamp, longest = 0, false, 0, 0
  if width == 0 then
    first = call('ZRANGE', key, '0', '0')[1]
    if first then
      first = first + 0
      count = call('ZCARD', key)
      if first <= now - window then
        count = count - call('ZREMRANGEBYSCORE', key, '-inf', format('%.0f', now - window))
        first = count > 0 and call('ZRANGE', key, '0', '0')[1] + 0
        if first then call('PEXPIRE', key, format('%.0f', window / 500)) end
      end
    end
    if count + cost > amount then
      if cost > amount then
        longest = window
      else
        local rank = format('%.0f', count + cost - amount - 1)
        longest = (rank == '0' and first or call('ZRANGE', key, rank, rank)[1]) + window - now
      end
    elseif refused == 0 and cost > 0 then
      stamp = now
      if cost > 1 or call('ZADD', key, 'NX', now_text, now_text) == 0 then
        -- Units sit at consecutive microseconds of their own, so that a refund finds exactly them.
        local last = call('ZRANGE', key, '-1', '-1')[1]
        if last and last + 1 > stamp then stamp = last + 1 end
        local units = {}
        for j = 0, cost - 1 do
          local unit = format('%.0f', stamp + j)
          units[j * 2 + 1], units[j * 2 + 2] = unit, unit
        end
        call('ZADD', key, unpack(units))
      end
      if count == 0 then
        first = stamp
        call('PEXPIRE', key, format('%.0f', window / 500))
      elseif stamp < first then
        first = stamp
      end
    end
  else
    local tail = call('ZRANGE', key, '-1', '-1', 'WITHSCORES')
    local last, total, base = tail[1], 0, 0
    if last then
      local last_gone = floor((now - window) / width) - 1
      if last + 0 <= last_gone then
        call('UNLINK', key)
        last = false
      else
        total = tail[2] + 0
        local head = call('ZRANGE', key, '0', '1', 'WITHSCORES')
        local rank = 0
        first = head[1] + 0
        if first == 0 then
          base, rank, first = head[2] + 0, 1, head[3] + 0
        end
        if first <= last_gone then
          -- A bucket has left: find the first that has not, and keep the total before it as the base.
          local gone = rank
          repeat
            local chunk = call('ZRANGE', key, format('%d', gone), format('%d', gone + 7), 'WITHSCORES')
            for j = 1, #chunk, 2 do
              first = chunk[j] + 0
              if first > last_gone then break end
              base, gone = chunk[j + 1] + 0, gone + 1
            end
          until first > last_gone
          call('ZREMRANGEBYRANK', key, '0', format('%d', gone - 1))
          call('ZADD', key, format('%.0f', base), '0')
          call('PEXPIRE', key, format('%.0f', window / 500))
        end
        count = total - base
        first = (first + 1) * width
      end
    end
    if count + cost > amount then
      if cost > amount then
        longest = window
      else
        local least = format('%.0f', total + cost - amount)
        longest = (call('ZRANGE', key, least, '+inf', 'BYSCORE', 'LIMIT', '0', '1')[1] + 1) * width + window - now
      end
    elseif refused == 0 and cost > 0 then
      stamp = floor(now / width)
      -- A server whose clock was set back goes on in the newest bucket: back later, never more.
      if last and last + 0 >= stamp then
        stamp = last + 0
      else
        last = format('%.0f', stamp)
      end
      call('ZADD', key, format('%.0f', total + cost), last)
      if count == 0 then
        first = (stamp + 1) * width
        call('PEXPIRE', key, format('%.0f', window / 500))
      end
    end
  end
  if longest > wait then refused, wait = i, longest end
  local left = amount - count
  if stamp > 0 then left = left - cost end
  answer[place + 1] = left > 0 and left or 0
  answer[place + 2] = first and first + window - now or 0
  answer[place + 3] = stamp
  place = place + 3
end

-- Limits are charged as they are met, which is cheapest when none refuses; here they get back what they gave.
for i = 1, refused > 0 and #keys or 0 do
  local key, stamp = keys[i], answer[i * 3 + 3]
  if stamp > 0 then
    amount, window, width, cost = unpack_struct('<dddd', spec, i * 32 - 31)
    local is_empty
    if width == 0 then
      call('ZREMRANGEBYSCORE', key, format('%.0f', stamp), format('%.0f', stamp + cost - 1))
      -- The unit may have stood before others, in the microsecond of one that was given back.
      local head = call('ZRANGE', key, '0', '0')[1]
      is_empty = not head
      if head then answer[i * 3 + 2] = head + window - now end
    else
      local tail = call('ZRANGE', key, '-2', '-1', 'WITHSCORES')
      local before = tail[3] and tail[2] + 0 or 0
      local total = tail[#tail] - cost
      if total == before then
        call('ZREM', key, tail[#tail - 1])
        is_empty = not tail[3] or tail[1] == '0'
      else
        call('ZADD', key, format('%.0f', total), tail[#tail - 1])
      end
    end
    answer[i * 3 + 1] = answer[i * 3 + 1] + cost
    if is_empty then answer[i * 3 + 2] = 0 end
    answer[i * 3 + 3] = 0
  end
end

answer[1], answer[2] = refused, wait
local shape = place == 12 and '<dddddddddddd' or place == 9 and '<ddddddddd' or place == 6 and '<dddddd'
return struct.pack(shape or '<' .. string.rep('d', place), unpack(answer, 1, place))
