import fc from 'fast-check'
import { expect, test } from 'vitest'
import { frameAt, stepped, timeOf } from './transport'

test('the time of a frame shows that frame, at every rate', () => {
  fc.assert(
    fc.property(fc.constantFrom(8, 15, 16, 23.976, 24, 25, 29.97, 30, 60), fc.nat(5000), (fps, frame) => {
      expect(frameAt(timeOf(frame, fps), fps, 5001)).toBe(frame)
      expect(frameAt(frame / fps, fps, 5001)).toBe(frame)
    }),
  )
  expect(frameAt(99, 16, 10)).toBe(9)
  expect(frameAt(-1, 16, 10)).toBe(0)
})

test('stepping goes around at the ends', () => {
  expect([stepped(0, -1, 10), stepped(9, 1, 10), stepped(4, 10, 10), stepped(3, 2, 10)]).toEqual([9, 0, 4, 5])
})
