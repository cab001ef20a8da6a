import { expect, test } from 'vitest'
import { lines } from './drift'

const axis = (values: (number | null)[], more: object = {}) => ({ unit: '', values, start: values[0] ?? null, visible: 2, verdict: 'steady', ...more })

test('lines are changes in units of what is noticed, over the length of the video', () => {
  const drift = { times: [0.5, 1.5], seconds: 2, axes: { brightness: axis([50, 54], { verdict: 'drifts' }), hue: axis([1, 2]) } }
  expect(lines(drift)).toEqual([{ name: 'brightness', verdict: 'drifts', points: [[0.25, 0], [0.75, 2]] }])
})

test('what could not be measured has no line', () => {
  const axes = { brightness: axis([null, null]), contrast: axis([1, null]), sharpness: axis([1, 2], { visible: null }), identity: axis([1, null, 0.9]) }
  expect(lines({ times: [0, 1, 2], seconds: 3, axes }).map((line) => [line.name, line.points.length])).toEqual([['identity', 2]])
})
