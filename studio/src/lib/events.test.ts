import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseEvents, type ServerEvent } from './events'

const written = (n: number, data: object) => `id: ${n}\nevent: progress\ndata: ${JSON.stringify({ n, job: 'job_a', ...data })}\n\n`

test('events are read whole wherever the stream is cut', () => {
  const text = `: open\n\n${written(1, { step: 1 })}: ping\n\n${written(2, { text: '가\n: 나' })}${written(3, {})}`
  fc.assert(
    fc.property(fc.array(fc.nat(text.length)), (cuts) => {
      const found: ServerEvent[] = []
      let rest = ''
      const places = [0, ...cuts.sort((a, b) => a - b), text.length]
      for (let at = 1; at < places.length; at++)
        rest = parseEvents(rest + text.slice(places[at - 1], places[at]), (event) => found.push(event))
      expect(rest).toBe('')
      expect(found.map((event) => event.id)).toEqual([1, 2, 3])
      expect(found[1]!.data.text).toBe('가\n: 나')
      expect(found[1]!.job).toBe('job_a')
    }),
  )
})
