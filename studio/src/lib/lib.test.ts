import { expect, test } from 'vitest'
import { after } from './jobs.svelte'
import { caps, submits } from './keys'
import { hrefOf, parse } from './router.svelte'
import { clock } from './i18n/format'

test('a route is what its address says, and the box where it says nothing known', () => {
  for (const [screen, id] of [['box', null], ['queue', null], ['timeline', 'doc_1'], ['gallery', 'job a/b']] as const)
    expect(parse(hrefOf(screen, id))).toEqual({ screen, id })
  expect(parse('#/nowhere')).toEqual({ screen: 'box', id: null })
  expect(parse('')).toEqual({ screen: 'box', id: null })
})

test('Enter submits, but not while an input method composes', () => {
  const key = (more: object) => ({ key: 'Enter', isComposing: false, keyCode: 13, ...more }) as KeyboardEvent
  expect(submits(key({}))).toBe(true)
  expect(submits(key({ isComposing: true }))).toBe(false)
  expect(submits(key({ keyCode: 229 }))).toBe(false)
  expect(submits(key({ key: 'a' }))).toBe(false)
})

test('times are read as on a clock', () => {
  expect([0, 9.6, 65, 3723].map(clock)).toEqual(['0:00', '0:10', '1:05', '1:02:03'])
})

test('keys are shown as caps, press by press', () => {
  expect(caps('g KeyQ')).toEqual([['G'], ['Q']])
  expect(caps('Shift+ArrowLeft')).toEqual([['Shift', '←']])
  expect(caps('+')).toEqual([['+']])
  expect(caps('Shift++')).toEqual([['Shift', '+']])
})

test('a job in progress keeps what it said before', () => {
  const begun = { phase: '', detail: '', step: 0, steps: 0, expert: null, left: null, clip: 1, clips: 1, fraction: 0, preview: 0, frames: null, playable: null, notes: [] }
  const step = after(begun, { type: 'progress', step: 3, steps: 8, expert: 'high', left: 12, clip: 1, clips: 2, fraction: 0.4 })
  expect(step).toMatchObject({ phase: 'denoise', step: 3, steps: 8, expert: 'high', left: 12, clips: 2, fraction: 0.4 })
  const said = { type: 'playable', frames: 17, total: 45, seconds: 2.125, media_type: 'video/mp4' }
  expect(after(step, said)).toMatchObject({ step: 3, playable: { frames: 17, total: 45, seconds: 2.125, type: 'video/mp4' } })
  expect(after(step, { type: 'preview', n: 2 })).toMatchObject({ preview: 2, step: 3 })
  expect(after(step, { type: 'phase', name: 'decode', detail: '' })).toMatchObject({ phase: 'decode', fraction: 0.4 })
  expect(after(step, { type: 'something newer' })).toBe(step)
})
