/** Titles and captions on a canvas, in the places where Python's `text.py` draws them. */

import type { Caption, Document } from './document'
import { titlesAt } from './schedule'

const WIDTH = 0.9 // of the frame that a text may take
const EDGE = 0.07 // of the frame's height between a text and the frame's edge
const CAPTION = 0.055 // height of a caption's letters, of the frame's shorter side
const FAMILY = "'Noto Sans', 'Noto Sans CJK KR', 'Noto Sans KR', system-ui, sans-serif"

interface Look {
  readonly place: 'center' | 'lower' | 'upper'
  readonly points: number
  readonly color: string
  readonly background: string | null
  readonly bold: boolean
  readonly edge: boolean
}

export function drawTexts(
  context: CanvasRenderingContext2D,
  document: Document,
  frame: number,
  captions: readonly Caption[],
): void {
  const { width, height } = context.canvas
  for (const { title, opacity } of titlesAt(document, frame)) {
    context.globalAlpha = opacity
    const { place, size, color, background, bold } = title.style
    draw(context, title.text, { place, points: size * height, color, background, bold, edge: false })
  }
  context.globalAlpha = 1
  const points = CAPTION * Math.min(width, height)
  for (const { text } of captions)
    draw(context, text, { place: 'lower', points, color: '#ffffff', background: null, bold: false, edge: true })
}

function draw(context: CanvasRenderingContext2D, text: string, look: Look): void {
  const { width, height } = context.canvas
  const lines = text.split('\n')
  const font = (points: number) => `${look.bold ? 700 : 400} ${points}px ${FAMILY}`
  context.font = font(look.points)
  const widest = Math.max(...lines.map((line) => context.measureText(line).width))
  const points = look.points * Math.min(1, (width * WIDTH) / widest)
  context.font = font(points)
  const step = points * 1.3
  const whole = step * lines.length
  const top = { center: (height - whole) / 2, upper: height * EDGE, lower: height * (1 - EDGE) - whole }[look.place]
  context.textAlign = 'center'
  context.textBaseline = 'middle'
  if (look.background) {
    const wide = Math.min(width, (widest * points) / look.points + points * 0.66)
    context.fillStyle = look.background
    context.fillRect((width - wide) / 2, top - points * 0.2, wide, whole + points * 0.4)
  }
  for (const [index, line] of lines.entries()) {
    const y = top + step * (index + 0.5)
    if (look.edge) {
      context.lineWidth = points * 0.14
      context.lineJoin = 'round'
      context.strokeStyle = '#000000cc'
      context.strokeText(line, width / 2, y)
    }
    context.fillStyle = look.color
    context.fillText(line, width / 2, y)
  }
}
