/** The state of the timeline screen: the document and its history, what is selected, where the playhead is. */

import { t } from '$lib/i18n'
import { complain } from '$lib/toasts.svelte'
import type { Clip, Document, Track } from './document'
import { type History, begin, record, redo, settle, undo } from './history'
import { EditError } from './errors'
import * as model from './model'
import { beside, snapPoints } from './time'

export const TOOLS = ['select', 'ripple', 'roll', 'slip', 'slide', 'blade'] as const
export type Tool = (typeof TOOLS)[number]
/** Pixels a frame. */
const ZOOMS = { least: 0.02, most: 40 }

export class Editor {
  private history: History<Document> = $state.raw(begin(model.emptyDocument('')))
  /** Ids of clips, gaps, transitions, titles, captions, markers. */
  selection: ReadonlySet<string> = $state.raw(new Set())
  playhead = $state(0)
  /** Frames a second in terms of the timeline's rate: 1 plays, 0 stands, -2 goes back twice as fast. */
  pace = $state(0)
  zoom = $state(4)
  tool: Tool = $state('select')
  snap = $state(true)
  /** Which edge the keys of a trim move. */
  edge: 'in' | 'out' = $state('out')
  /** The tracks that new clips go to. */
  private aimed: Record<'video' | 'audio', string | null> = $state({ video: null, audio: null })
  /** A frame that is snapped to while a pointer drags, to be drawn. */
  snapLine: number | null = $state(null)
  /** How many times the document has changed: what autosave watches. */
  changes = $state(0)
  private clipboard: { clip: Clip; at: number; track: string }[] = []

  get document(): Document {
    return this.history.now
  }

  readonly length = $derived(model.extent(this.document))

  readonly canUndo = $derived(this.history.past.length > 0)
  readonly canRedo = $derived(this.history.future.length > 0)

  /** Show another document; what was selected and done is of the one before. */
  open(document: Document): void {
    this.history = begin(document)
    this.selection = new Set()
    this.playhead = 0
    this.pace = 0
  }

  /** Take over a document as one more step that can be undone. */
  replace(document: Document): void {
    this.take(record(this.history, document))
  }

  /** Make an edit. What cannot be done is said, and false returned. Edits of one `run` are one step. */
  edit(change: (document: Document) => Document, run: string | null = null, quiet = false): boolean {
    try {
      this.take(record(this.history, change(this.document), run))
      return true
    } catch (error) {
      if (!(error instanceof EditError)) throw error
      if (!quiet) complain(new Error(t.timeline.errors[error.code]))
      return false
    }
  }

  settle(): void {
    this.history = settle(this.history)
  }

  undo(): void {
    this.take(undo(this.history))
  }

  redo(): void {
    this.take(redo(this.history))
  }

  private take(history: History<Document>): void {
    if (history.now !== this.document) this.changes += 1
    this.history = history
    const known = new Set(ids(this.document))
    if ([...this.selection].some((id) => !known.has(id)))
      this.selection = new Set([...this.selection].filter((id) => known.has(id)))
  }

  // What is selected

  select(id: string, more: boolean = false): void {
    if (!more) this.selection = new Set([id])
    else {
      const next = new Set(this.selection)
      if (!next.delete(id)) next.add(id)
      this.selection = next
    }
  }

  selectAll(): void {
    this.selection = new Set([...model.clips(this.document)].filter(({ track }) => !track.locked).map(({ item }) => item.id))
  }

  deselect(): void {
    this.selection = new Set()
  }

  readonly clips = $derived([...model.clips(this.document)].filter(({ item }) => this.selection.has(item.id)))

  /** The one clip that keys act on: the selected one, else what is at the playhead on the track that is aimed at. */
  get clip(): model.Found | null {
    if (this.clips.length) return this.clips[0]!
    const track = this.target('video')
    const here = track && model.itemAt(track, this.playhead)
    return here?.item.type === 'clip' ? model.findClip(this.document, here.item.id) : null
  }

  /** What a retake replaces: the selected clip, or the one at the in point; and what of it lies between in and out. */
  get retake(): { into: string; range: readonly [number, number] | null } | null {
    const { in: from, out: to } = this.document
    const track = this.target('video')
    const here = track && model.itemAt(track, from ?? (to === null ? this.playhead : to - 1))
    const found = this.clips.find((each) => each.track.kind === 'video') ?? (here && model.findClip(this.document, here.item.id))
    if (!found) return null
    const { at, item } = found
    const range = [Math.max(at, from ?? at), Math.min(at + item.duration, to ?? Infinity)] as const
    return { into: item.id, range: range[1] - range[0] < 1 || range[1] - range[0] === item.duration ? null : range }
  }

  /** The track that new clips of a kind go to: the one aimed at, or the first that is not locked. */
  target(kind: Track['kind']): Track | null {
    const all = this.document.tracks.filter((track) => track.kind === kind && !track.locked)
    return all.find(({ id }) => id === this.aimed[kind]) ?? all[0] ?? null
  }

  aim(track: Track): void {
    this.aimed[track.kind] = track.id
  }

  // Where we are

  go(frame: number): void {
    this.playhead = Math.max(0, Math.round(frame))
  }

  step(by: number): void {
    this.pace = 0
    this.go(this.playhead + by)
  }

  jump(way: -1 | 1): void {
    const points = snapPoints(this.document)
    this.pace = 0
    this.go(beside(points, this.playhead, way) ?? this.playhead)
  }

  /** J, K and L: each press in one direction doubles the pace, up to eight. */
  shuttle(way: -1 | 0 | 1): void {
    if (way === 0) this.pace = 0
    else if (Math.sign(this.pace) !== way) this.pace = way
    else this.pace = way * Math.min(8, Math.abs(this.pace) * 2)
    if (way > 0 && this.playhead >= this.length - 1) this.playhead = 0
  }

  zoomBy(factor: number): void {
    this.zoom = Math.min(ZOOMS.most, Math.max(ZOOMS.least, this.zoom * factor))
  }

  // What keys do

  copy(): void {
    if (!this.clips.length) return
    const first = Math.min(...this.clips.map(({ at }) => at))
    this.clipboard = this.clips.map(({ item, at, track }) => ({ clip: item, at: at - first, track: track.id }))
  }

  cut(): void {
    this.copy()
    if (this.clips.length) this.edit((document) => model.lift(document, this.selection))
  }

  /** Put what was copied at the playhead, over what is there. */
  paste(): void {
    if (!this.clipboard.length) return
    const fresh = new Map<string, string>()
    const link = (old: string | null) => {
      if (old === null) return null
      if (!fresh.has(old)) fresh.set(old, model.newId('l'))
      return fresh.get(old)!
    }
    const copies = this.clipboard.map((each) => ({
      ...each,
      clip: { ...each.clip, id: model.newId('c'), link: link(each.clip.link) },
    }))
    const run = model.newId('run')
    for (const each of copies) {
      const there = model.findTrack(this.document, each.track) ?? this.target(each.clip.source.size ? 'video' : 'audio')
      if (there) this.edit((document) => model.overwrite(document, there.id, this.playhead + each.at, [each.clip]), run)
    }
    this.settle()
    this.selection = new Set(copies.map(({ clip }) => clip.id))
  }

  /** Take away what is selected; with `ripple`, its time too. */
  remove(ripple: boolean): void {
    const chosen = [...this.selection]
    if (!chosen.length) return
    const run = model.newId('run')
    const has = (all: readonly { id: string }[]) => all.some(({ id }) => this.selection.has(id))
    const { markers, titles, captions } = this.document
    if (has(markers) || has(titles) || has(captions)) this.edit((document) => model.removeThings(document, chosen), run)
    for (const id of chosen) {
      if (model.findTransition(this.document, id)) this.edit((document) => model.removeTransition(document, id), run)
      else if (model.findGap(this.document, id)) this.edit((document) => model.closeGap(document, id), run)
    }
    const clips = chosen.filter((id) => model.findClip(this.document, id))
    if (clips.length) this.edit((document) => (ripple ? model.rippleDelete(document, clips) : model.lift(document, clips)), run)
    this.settle()
  }

  /** Move what is selected, or trim, roll, slip or slide it, as the tool says. */
  nudge(by: number): void {
    const found = this.clip
    if (!found) return
    const { id } = found.item
    if (this.tool === 'ripple') this.edit((document) => model.trim(document, id, this.edge, by, { ripple: true }))
    else if (this.tool === 'roll')
      this.edit((document) => model.roll(document, this.edge === 'in' ? id : (nextOf(document, id) ?? id), by))
    else if (this.tool === 'slip') this.edit((document) => model.slip(document, id, by))
    else if (this.tool === 'slide') this.edit((document) => model.slide(document, id, by))
    else
      this.edit((document) =>
        model.move(
          document,
          (this.clips.length ? this.clips : [found]).map(({ item, at }) => ({ id: item.id, at: at + by })),
        ),
      )
  }

  /** Move an edge of the clip to the playhead. */
  trimTo(edge: 'in' | 'out', ripple: boolean): void {
    const found = this.clip
    if (!found) return
    const by = this.playhead - (edge === 'in' ? found.at : found.at + found.item.duration)
    if (by && this.edit((document) => model.trim(document, found.item.id, edge, by, { ripple })) && edge === 'in' && ripple)
      this.go(found.at)
  }

  blade(all: boolean): void {
    const own = this.clips.length ? this.clips.map(({ track }) => track.id) : [this.target('video')?.id ?? '']
    this.edit((document) => model.blade(document, this.playhead, all ? null : [...new Set(own)]))
  }

  /** Dissolve at the cut of the selected clip, or at the one nearest to the playhead. */
  dissolve(): void {
    const tracks = this.document.tracks.filter((track) => !track.locked)
    const all = tracks.flatMap((track) => model.cuts(track).map((cut) => ({ ...cut, track })))
    const mine = all.filter(({ after }) => this.selection.has(after.id))
    const near = (mine.length ? mine : all).sort((a, b) => Math.abs(a.at - this.playhead) - Math.abs(b.at - this.playhead))[0]
    if (!near) return void complain(new Error(t.timeline.errors.adjacent))
    const frames = Math.max(2, Math.round(this.document.rate[0] / this.document.rate[1] / 2))
    this.edit((document) => model.addTransition(document, near.after.id, frames, true))
  }
}

function nextOf(document: Document, id: string): string | null {
  const found = model.findClip(document, id)
  const next = found && model.cuts(found.track).find(({ before }) => before.id === id)
  return next?.after.id ?? null
}

function* ids(document: Document): Generator<string> {
  for (const track of document.tracks) for (const item of track.items) yield item.id
  for (const each of [...document.markers, ...document.titles, ...document.captions]) yield each.id
}
