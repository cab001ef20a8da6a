import { expect, test } from 'vitest'
import type { Job } from '$lib/api'
import { check } from './check'
import { arrive, withMaking } from './making.svelte'
import * as model from './model'
import { RATES, sample } from './testing'

const job = (frames: number, fps = 16) =>
  ({
    id: 'job_new', kind: 'video', created: 0, request: { prompt: 'between' }, meta: {},
    result: { files: [{ name: 'video.mp4', type: 'video/mp4', width: 832, height: 480, frames, fps, seconds: frames / fps }] },
  }) as unknown as Job

/** The sample, in which the clip of this name is a gap, and what a video of so many frames becomes in it. */
function filled(name: string, rate: model.Rational, frames: number) {
  const document = sample(rate)
  const clip = [...model.clips(document)].find(({ item }) => item.name === name)!
  const open = model.lift(document, [clip.item.id])
  const gap = open.tracks[0]!.items.find((item) => item.type === 'gap')!
  const made = arrive(withMaking(open, [{ job: 'job_new', how: 'gap', into: gap.id }]), { job: 'job_new', how: 'gap', into: gap.id }, job(frames))
  return { made, span: clip.item.duration, at: clip.at }
}

test.each(RATES)('no frame is shown twice at the ends of a filled gap, at %d/%d', (...rate) => {
  const { made, span, at } = filled('two', rate as model.Rational, 60)
  const clip = [...model.clips(made)].find(({ item }) => item.name === 'between')!
  expect([clip.item.in, clip.item.out]).toEqual([1, 59]) // the others are the last before the gap and the first after it
  expect([clip.at, clip.item.duration]).toEqual([at, span])
  expect(check(made)).toEqual([])
})

test('where nothing is before a gap, the first frame is shown', () => {
  const { made } = filled('one', [24, 1], 60)
  const clip = [...model.clips(made)].find(({ item }) => item.name === 'between')!
  expect([clip.item.in, clip.item.out]).toEqual([0, 59])
})

test('of a video of two frames nothing is left out', () => {
  const { made } = filled('two', [24, 1], 2)
  const clip = [...model.clips(made)].find(({ item }) => item.name === 'between')!
  expect([clip.item.in, clip.item.out]).toEqual([0, 2])
})
