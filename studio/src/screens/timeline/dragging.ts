/** What a pointer does to clips: moves, trims and the rest, as the tool and the place on the clip say. */

import type { Clip, Document, Track } from '../../timeline/document'
import type { Editor } from '../../timeline/editor.svelte'
import * as model from '../../timeline/model'
import { snapPoints, snapped } from '../../timeline/time'

const EDGE = 8 // pixels of a clip's end that trim
const REACH = 8 // pixels within which edges snap
const STILL = 3 // pixels that are not a drag yet

/** The edit that a drag comes to when the pointer has moved by some frames, over some track. */
type Drag = (base: Document, by: number, over: Track | null) => Document

interface Grip {
  drag: Drag
  /** Frames that snap to others. */
  edges: number[]
}

function gripOf(editor: Editor, clip: Clip, at: number, track: Track, x: number, width: number, alone: boolean): Grip | null {
  const { id } = clip
  const end = at + clip.duration
  const near = Math.min(EDGE, width / 3)
  const edge = x <= near ? 'in' : x >= width - near ? 'out' : null
  const { tool } = editor
  if (tool === 'slip') return { drag: (base, by) => model.slip(base, id, -by), edges: [] }
  if (tool === 'slide') return { drag: (base, by) => model.slide(base, id, by), edges: [at, end] }
  if (tool === 'roll') {
    const cut = model.cuts(track).find(({ after, before }) => (x < width / 2 ? after.id === id : before.id === id))
    return cut ? { drag: (base, by) => model.roll(base, cut.after.id, by), edges: [cut.at] } : null
  }
  if (edge)
    return {
      drag: (base, by) => model.trim(base, id, edge, by, { ripple: tool === 'ripple', alone }),
      edges: [edge === 'in' ? at : end],
    }
  if (tool === 'ripple') return null
  const moving = [...model.clips(editor.document)].filter(({ item }) => editor.selection.has(item.id))
  const first = Math.min(...moving.map((each) => each.at))
  return {
    edges: moving.flatMap((each) => [each.at, each.at + each.item.duration]),
    drag: (base, by, over) => {
      const shift = Math.max(-first, by)
      const other = moving.length === 1 && over && over.kind === track.kind && !over.locked ? { track: over.id } : {}
      if (shift === 0 && (!('track' in other) || other.track === track.id)) return base
      return model.move(
        base,
        moving.map((each) => ({ id: each.item.id, at: each.at + shift, ...other })),
      )
    },
  }
}

/** Begin a drag on a clip; it ends by itself when the pointer is let go. */
export function grab(editor: Editor, event: PointerEvent, clip: Clip, at: number, track: Track): void {
  if (event.button !== 0) return
  const target = event.currentTarget as HTMLElement
  const holder = target.closest('[role="grid"]') as HTMLElement // the clip itself may come to another row
  const box = target.getBoundingClientRect()
  const x = event.clientX - box.left
  if (editor.tool === 'blade') {
    const frame = at + Math.round(x / editor.zoom)
    editor.edit((document) => model.blade(document, frame, event.shiftKey ? null : [track.id]))
    return
  }
  const more = event.ctrlKey || event.metaKey || event.shiftKey
  if (more || !editor.selection.has(clip.id)) editor.select(clip.id, more)
  if (track.locked) return
  const grip = gripOf(editor, clip, at, track, x, box.width, event.altKey)
  if (!grip) return
  const base = editor.document
  const run = model.newId('drag')
  const points = snapPoints(base, editor.selection, [editor.playhead])
  let begun = false
  holder.setPointerCapture(event.pointerId)
  const moved = (now: PointerEvent) => {
    const pixels = now.clientX - event.clientX
    begun ||= Math.abs(pixels) > STILL || Math.abs(now.clientY - event.clientY) > 12
    if (!begun) return
    const free = Math.round(pixels / editor.zoom)
    const { by, at: line } = editor.snap ? snapped(free, grip.edges, points, REACH / editor.zoom) : { by: free, at: null }
    editor.snapLine = line
    editor.edit(() => grip.drag(base, by, trackAt(editor, now)), run, true)
  }
  const done = () => {
    editor.snapLine = null
    editor.settle()
    holder.removeEventListener('pointermove', moved)
  }
  holder.addEventListener('pointermove', moved)
  holder.addEventListener('lostpointercapture', done, { once: true })
}

type Stretch = { id: string; from: number; to: number }

/** The same for a title or a caption: its ends trim, the rest moves. */
export function grabText(
  editor: Editor,
  event: PointerEvent,
  text: Stretch,
  change: (base: Document, look: Partial<Stretch>) => Document,
): void {
  if (event.button !== 0) return
  const target = event.currentTarget as HTMLElement
  const holder = target.closest('[role="grid"]') as HTMLElement
  const box = target.getBoundingClientRect()
  const x = event.clientX - box.left
  editor.select(text.id, event.ctrlKey || event.metaKey || event.shiftKey)
  const edge = x <= EDGE ? 'from' : x >= box.width - EDGE ? 'to' : null
  const base = editor.document
  const run = model.newId('drag')
  const points = snapPoints(base, new Set([text.id]), [editor.playhead])
  holder.setPointerCapture(event.pointerId)
  const moved = (now: PointerEvent) => {
    const free = Math.round((now.clientX - event.clientX) / editor.zoom)
    const edges = edge ? [text[edge]] : [text.from, text.to]
    const by = Math.max(
      editor.snap ? snapped(free, edges, points, REACH / editor.zoom).by : free,
      -(edge === 'to' ? Infinity : text.from),
    )
    const look = edge ? { [edge]: text[edge] + by } : { from: text.from + by, to: text.to + by }
    editor.edit(() => (by ? change(base, look) : base), run, true)
  }
  const done = () => {
    editor.settle()
    holder.removeEventListener('pointermove', moved)
  }
  holder.addEventListener('pointermove', moved)
  holder.addEventListener('lostpointercapture', done, { once: true })
}

export function trackAt(editor: Editor, event: MouseEvent): Track | null {
  const row = document
    .elementsFromPoint(event.clientX, event.clientY)
    .find((each) => each instanceof HTMLElement && each.dataset['track'])
  return (row && editor.document.tracks.find(({ id }) => id === (row as HTMLElement).dataset['track'])) ?? null
}
