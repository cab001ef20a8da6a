import fc from 'fast-check'
import { expect, test } from 'vitest'
import { filtered, itemOf, placed, type Item } from './items.svelte'
import type { Job } from '$lib/api'

const item = (id: string, more: Partial<Item> = {}): Item => ({
  id, kind: 'video', title: id, prompt: '', created: 0, media: { name: 'video.mp4', type: 'video/mp4', bytes: 1 },
  still: null, sheet: null, rating: 0, boards: [], trashed: false, ...more,
})

test('items stay in order of age, whatever comes when', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { maxLength: 30 }), (ages) => {
      let items: Item[] = []
      for (const age of ages) items = placed(items, item(`job_${age}`, { created: age }))
      expect(items.map((each) => each.created)).toEqual([...new Set(ages)].sort((a, b) => b - a))
    }),
  )
})

test('an item that changes stays where it is', () => {
  const items = [item('b', { created: 2 }), item('a', { created: 1 })]
  expect(placed(items, item('a', { created: 1, rating: 5 })).map((each) => [each.id, each.rating])).toEqual([['b', 0], ['a', 5]])
})

test('a filter takes what has all of it', () => {
  const items = [
    item('a', { prompt: 'Red ball', rating: 3, boards: ['x'] }), item('b', { prompt: 'red cube', kind: 'image' }), item('c', { title: '빨간 공' }),
  ]
  const by = (more: object) => filtered(items, { text: '', kind: '', rating: 0, board: '', ...more }).map((each) => each.id)
  expect(by({})).toEqual(['a', 'b', 'c'])
  expect(by({ text: 'ball RED' })).toEqual(['a'])
  expect(by({ text: '공' })).toEqual(['c'])
  expect(by({ kind: 'image' })).toEqual(['b'])
  expect(by({ rating: 3 })).toEqual(['a'])
  expect(by({ board: 'x', text: 'cube' })).toEqual([])
})

test('only what was completed and can be seen is an item', () => {
  const job = (more: object) => ({ id: 'job_a', kind: 'video', state: 'completed', request: { prompt: 'p' }, created: 1, meta: { rating: 4, boards: ['b'] },
    result: { files: [{ name: 'video.mp4', type: 'video/mp4', bytes: 1 }], stills: [{ name: 'thumbnail.webp' }] }, ...more }) as unknown as Job
  expect(itemOf(job({}))).toMatchObject({ kind: 'video', rating: 4, boards: ['b'], still: '/v1/jobs/job_a/files/thumbnail.webp', sheet: null })
  expect(itemOf(job({ state: 'failed' }))).toBeNull()
  expect(itemOf(job({ result: { files: [] } }))).toBeNull()
  expect(itemOf(job({ kind: 'group' }))).toBeNull()
})
