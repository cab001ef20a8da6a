import fc from 'fast-check'
import { expect, test } from 'vitest'
import { byTurn, cellStyle, endOf, mediaOf, placeAfter, referenceOf, sheetOf, titleOf } from './job'
import type { Job } from './api'

test('a job that is moved stands where it was moved to', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.nat(8), fc.integer({ min: -10, max: 10 }), (size, from, by) => {
      const order = Array.from({ length: size }, (_, n) => `j${n}`)
      const id = order[from % size]!
      const place = placeAfter(order, id, by)
      const rest = order.filter((each) => each !== id)
      const wanted = Math.max(0, Math.min(size - 1, (from % size) + by))
      if (place === null) {
        expect(wanted).toBe(from % size)
        return
      }
      rest.splice('before' in place ? rest.indexOf(place.before) : rest.length, 0, id)
      expect(rest.indexOf(id)).toBe(wanted)
    }),
  )
  expect(placeAfter(['a'], 'b', 1)).toBeNull()
})

test('jobs stand by priority, then by their place', () => {
  const job = (id: string, priority: number, seq: number) => ({ id, priority, seq, created: 0 }) as Job
  expect([job('c', 0, 5), job('a', 1, 9), job('b', 0, 2)].sort(byTurn).map((each) => each.id)).toEqual(['a', 'b', 'c'])
})

test('a sheet has the cells that the server wrote', () => {
  expect(sheetOf(81)).toEqual({ cells: 25, columns: 5, rows: 5 })
  expect(sheetOf(7)).toEqual({ cells: 7, columns: 5, rows: 2 })
  expect(sheetOf(1)).toEqual({ cells: 1, columns: 1, rows: 1 })
  expect(cellStyle(sheetOf(25), 24)).toContain('background-position:100% 100%')
  expect(cellStyle(sheetOf(1), 0)).toContain('background-position:0 0')
})

test('a job is called by its name, else by its prompt', () => {
  expect(titleOf({ kind: 'video', request: { prompt: ' a ball ' }, meta: {} })).toBe('a ball')
  expect(titleOf({ kind: 'video', request: { prompt: 'a ball' }, meta: { name: 'Opening' } })).toBe('Opening')
  expect(titleOf({ kind: 'image', request: {}, meta: {} })).toBe('image')
  expect(mediaOf({ result: null })).toBeNull()
  expect(mediaOf({ result: { files: [{ name: 'a.zip', type: 'application/zip' }, { name: 'b.mp4', type: 'video/mp4' }] } })?.name).toBe('b.mp4')
})

test('what another job makes is told from an input', () => {
  const id = `job_${'a'.repeat(24)}`
  expect(referenceOf(`${id}/last`)).toEqual({ job: id, frame: 'last' })
  expect(referenceOf(`${id}/12`)).toEqual({ job: id, frame: '12' })
  expect(referenceOf(endOf({ id, kind: 'image' }))).toEqual({ job: id, frame: null })
  expect(referenceOf(endOf({ id }))).toEqual({ job: id, frame: 'last' })
  for (const other of [`in_${'a'.repeat(24)}`, `${id}/middle`, '', null, 3]) expect(referenceOf(other)).toBeNull()
})
