import fc from 'fast-check'
import { expect, test } from 'vitest'
import { diff, type Piece } from './diff'

const side = (pieces: Piece[], not: Piece['how']) => pieces.filter((piece) => piece.how !== not).map((piece) => piece.text).join('')

test('what was added is marked', () => {
  expect(diff('a fox', 'Night time. a fox; The camera pushes in.')).toEqual([
    { text: 'Night time. ', how: 'added' },
    { text: 'a fox', how: 'same' },
    { text: '; The camera pushes in.', how: 'added' },
  ])
  expect(diff('狐狸跑', '夜晚，狐狸跑')).toEqual([{ text: '夜晚，', how: 'added' }, { text: '狐狸跑', how: 'same' }])
  expect(diff('a', 'a')).toEqual([{ text: 'a', how: 'same' }])
})

test('both texts are in it, whole', () => {
  const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 60 }), fc.array(fc.constantFrom('a', ' ', 'fox', '狐', '。', '여우')).map((parts) => parts.join('')))
  fc.assert(fc.property(text, text, (before, after) => {
    const pieces = diff(before, after)
    expect(side(pieces, 'removed')).toBe(after)
    expect(side(pieces, 'added')).toBe(before)
  }))
})
