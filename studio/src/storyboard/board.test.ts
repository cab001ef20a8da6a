import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { moved, ordered, readOrder, reordered, shownTake, summary, verdicts, type Board, type Shot, type Take } from './board'

const take = (job: string, more: Partial<Take> = {}): Take => ({
  job, take: 1, seed: 1, state: 'completed', fraction: 1, locked: false, rating: null, files: ['video.mp4'], error: null, measure: null, measured: null, score: null, ...more,
})
const shot = (n: number, more: Partial<Shot> = {}): Shot => ({
  shot: n, where: `line ${n}`, prompt: `shot ${n}`, subject: '', asked: {}, chosen: null, failing: null, locked: false, takes: [], ...more,
})
const SHOTS = [shot(1), shot(2), shot(3), shot(4)]
const numbers = (shots: Shot[]) => shots.map((each) => each.shot)

describe('the order of shots', () => {
  test('a kept order holds; new shots stand at the end', () => {
    expect(numbers(ordered(SHOTS, []))).toEqual([1, 2, 3, 4])
    expect(numbers(ordered(SHOTS, [3, 1]))).toEqual([3, 1, 2, 4])
    expect(numbers(ordered(SHOTS, [9, 4]))).toEqual([4, 1, 2, 3])
  })

  test('what was kept wrong is no order', () => {
    for (const text of [null, '', 'x', '{}', '["a"]', '[1.5]']) expect(readOrder(text)).toEqual([])
    expect(readOrder('[2, 1, 2]')).toEqual([2, 1])
  })

  test('moves lose no shot', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(20), { maxLength: 8 }), fc.array(fc.tuple(fc.integer({ min: -2, max: 9 }), fc.integer({ min: -2, max: 9 }))), (order, moves) => {
        let now = order
        for (const [from, to] of moves) now = moved(now, Math.max(0, from), to)
        expect([...now].sort()).toEqual([...order].sort())
      }),
    )
    expect(moved([1, 2, 3], 0, 2)).toEqual([2, 3, 1])
    expect(moved([1, 2, 3], 2, -5)).toEqual([3, 1, 2])
    expect(reordered([1, 2, 3])).toBe(false)
    expect(reordered([2, 1, 3])).toBe(true)
  })
})

describe('takes', () => {
  test('the chosen is shown, else the one in work, else the last', () => {
    expect(shownTake(shot(1))).toBeNull()
    expect(shownTake(shot(1, { takes: [take('a'), take('b', { state: 'queued' })] }))?.job).toBe('b')
    expect(shownTake(shot(1, { takes: [take('a', { state: 'running' }), take('b', { state: 'queued' })] }))?.job).toBe('a')
    expect(shownTake(shot(1, { chosen: 'a', takes: [take('a'), take('b', { state: 'running' })] }))?.job).toBe('a')
  })

  test('failures stand first', () => {
    const measured = { score: 0.5, axes: [{ axis: 'time', asked: 'night', matches: false }], matched: ['camera'], failed: ['time'], unchecked: ['style'] }
    expect(verdicts(take('a', { measured })).map((each) => [each.axis, each.verdict, each.row?.asked])).toEqual([['time', 'failed', 'night'], ['camera', 'matched', undefined], ['style', 'unchecked', undefined]])
    expect(verdicts(take('a'))).toEqual([])
  })

  test('a board in short', () => {
    const board: Board = {
      id: 'job_a', name: '', title: '', state: 'running', fraction: 0.5, script: '', failing: [2],
      shots: [shot(1, { chosen: 'a', locked: true, failing: true, takes: [take('a')] }), shot(2, { failing: true, chosen: 'b', takes: [take('b'), take('c', { state: 'running' })] }), shot(3, { takes: [take('d', { state: 'queued' })] })],
    }
    expect(summary(board)).toEqual({ made: 2, failing: 1, open: 2, locked: 1 })
  })
})
