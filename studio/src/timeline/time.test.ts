import fc from 'fast-check'
import { expect, it } from 'vitest'
import { frameAt, frameOf, seconds, snapped, timecode } from './time'

it('timecode leaves out two numbers a minute, but not in the tenth', () => {
  const rate = [30000, 1001] as const
  expect(timecode(1799, rate)).toBe('00:00:59;29')
  expect(timecode(1800, rate)).toBe('00:01:00;02')
  expect(timecode(17982, rate)).toBe('00:10:00;00')
  expect(timecode(107892, rate)).toBe('01:00:00;00')
  expect(timecode(3600, [60000, 1001])).toBe('00:01:00;04')
  expect(timecode(1439, [24000, 1001])).toBe('00:00:59:23')
})

it('timecode and frame are the same', () => {
  const rates = [
    [24, 1],
    [30000, 1001],
    [60000, 1001],
    [25, 1],
    [16, 1],
  ] as const
  fc.assert(
    fc.property(fc.nat({ max: 1_300_000 }), fc.constantFrom(...rates), (frame, rate) => {
      expect(frameOf(timecode(frame, rate), rate)).toBe(frame)
      expect(frameAt(seconds(frame, rate), rate)).toBe(frame)
    }),
  )
})

it('a timecode that does not exist is none', () => {
  expect(frameOf('00:01:00;00', [30000, 1001])).toBe(null)
  expect(frameOf('00:00:61:00', [24, 1])).toBe(null)
  expect(frameOf('one', [24, 1])).toBe(null)
  expect(frameOf('1:12', [24, 1])).toBe(36)
  expect(frameOf('250', [24, 1])).toBe(250)
})

it('snaps the nearest edge within reach', () => {
  expect(snapped(7, [0, 50], [10, 60], 4)).toEqual({ by: 10, at: 10 })
  expect(snapped(5, [0], [10], 4)).toEqual({ by: 5, at: null })
})
