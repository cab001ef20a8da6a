/** What an extension added to a prompt, word by word (sign by sign where words have no spaces). Pure. */

export interface Piece {
  text: string
  how: 'same' | 'added' | 'removed'
}

const PIECES = /\s+|[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[^\s\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{P}]+|\p{P}/gu

const MOST = 4_000_000 // cells of the table; beyond it the whole text is shown as new

/** The pieces of both texts, in order: joined, those that are not removed are `after`, those not added `before`. */
export function diff(before: string, after: string): Piece[] {
  const [a, b] = [before.match(PIECES) ?? [], after.match(PIECES) ?? []]
  if (a.length * b.length > MOST) return joined([{ text: before, how: 'removed' }, { text: after, how: 'added' }])
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1))
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i]![j] = a[i] === b[j] ? longest[i + 1]![j + 1]! + 1 : Math.max(longest[i + 1]![j]!, longest[i]![j + 1]!)
    }
  }
  const pieces: Piece[] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      pieces.push({ text: a[i]!, how: 'same' })
      i += 1
      j += 1
    } else if (j < b.length && (i === a.length || longest[i]![j + 1]! >= longest[i + 1]![j]!)) pieces.push({ text: b[j++]!, how: 'added' })
    else pieces.push({ text: a[i++]!, how: 'removed' })
  }
  return joined(pieces)
}

function joined(pieces: Piece[]): Piece[] {
  const found: Piece[] = []
  for (const piece of pieces) {
    const last = found.at(-1)
    if (piece.text === '') continue
    if (last?.how === piece.how) last.text += piece.text
    else found.push({ ...piece })
  }
  return found
}
