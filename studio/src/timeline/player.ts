/** Shows a timeline on a canvas and plays its sound. Reads the document and the playhead; writes only the playhead and the pace.
 *
 * Pictures come from a few <video> elements in turn: one shows a clip while another already stands at the next cut; in a
 * dissolve both run. Standing still, each stands in the middle of its source frame, so that the frame is the right one. */

import { type Clip, type Document, type Media, mediaKey } from './document'
import type { Editor } from './editor.svelte'
import { placed } from './layout'
import { cellOf, sheets, unplayable, wantSheet } from './media.svelte'
import { type Seen, captionsAt, heard, middleOf, seen } from './schedule'
import { urlOf } from './server'
import { sourceFrame, stepOf } from './spans'
import { drawTexts } from './text'
import { seconds } from './time'

const SLOTS = 4
const AHEAD = 1.5 // seconds before a cut at which the next clip is made ready
const DRIFT = 0.12 // seconds that a video may be away from the clock
const WIDEST = 1280

interface Slot {
  readonly video: HTMLVideoElement
  clip: string
  media: string
  used: number
}

interface Voice {
  readonly element: HTMLAudioElement
  readonly gain: GainNode
}

export class Player {
  private readonly slots: Slot[] = []
  private readonly stills = new Map<string, HTMLImageElement>()
  private readonly voices = new Map<string, Voice>()
  private readonly context: CanvasRenderingContext2D
  private audio: AudioContext | null = null
  private request = 0
  private clock: { at: number; frame: number; pace: number } | null = null
  private said = -1
  private uses = 0
  /** The language of the captions that are drawn; null for none. */
  captions: string | null = null

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly editor: Editor,
  ) {
    this.context = canvas.getContext('2d')!
  }

  private get document(): Document {
    return this.editor.document
  }

  /** The document, the playhead or the pace has changed. */
  refresh(): void {
    if (this.editor.pace !== 0 && !this.clock) this.begin()
    cancelAnimationFrame(this.request)
    this.request = requestAnimationFrame(() => this.tick())
  }

  close(): void {
    cancelAnimationFrame(this.request)
    for (const { video } of this.slots) unload(video)
    for (const { element } of this.voices.values()) unload(element)
    void this.audio?.close()
  }

  private begin(): void {
    this.audio ??= new AudioContext()
    void this.audio.resume()
  }

  private tick(): void {
    const { editor } = this
    const now = performance.now()
    let exact = editor.playhead
    if (editor.pace === 0) this.clock = null
    else {
      if (!this.clock || this.clock.pace !== editor.pace || this.said !== editor.playhead)
        this.clock = { at: now, frame: editor.playhead, pace: editor.pace }
      exact = this.clock.frame + ((now - this.clock.at) / 1000) * editor.pace * (this.document.rate[0] / this.document.rate[1])
      const last = Math.max(0, editor.length - 1)
      if (exact > last || exact < 0) {
        editor.pace = 0
        exact = exact < 0 ? 0 : last
      }
      editor.playhead = this.said = Math.floor(exact)
    }
    this.show(exact)
    this.sound(exact)
    if (editor.pace !== 0) this.request = requestAnimationFrame(() => this.tick())
    else this.clock = null
  }

  // Pictures

  private show(exact: number): void {
    const frame = Math.floor(exact)
    const layers = seen(this.document, frame)
    for (const layer of layers) this.prepare(layer, exact)
    for (const slot of this.slots) if (!layers.some(({ clip }) => clip.id === slot.clip)) slot.video.pause()
    if (this.editor.pace > 0) this.ahead(exact)
    this.draw(layers, frame)
  }

  /** Bring the element of a clip to where it must be. */
  private prepare({ clip, at, frame }: Seen, exact: number): void {
    if (clip.source.still || 'path' in clip.media) return
    const { video } = this.slotOf(clip)
    const { pace, document } = this.editor
    if (pace > 0) {
      const rate = Math.min(16, Math.max(0.0625, (pace * clip.speed[0]) / clip.speed[1]))
      if (video.playbackRate !== rate) video.playbackRate = rate
      const due = seconds(clip.in + (exact - at) * stepOf(clip, document.rate), clip.source.rate)
      if (!video.seeking && Math.abs(video.currentTime - due) > DRIFT * Math.max(1, rate)) video.currentTime = due
      if (video.paused) void video.play().catch(() => undefined)
    } else {
      video.pause()
      const due = middleOf(clip, frame)
      if (Math.abs(video.currentTime - due) > 1e-4 && !(pace < 0 && video.seeking)) video.currentTime = due
    }
  }

  /** Let the clips that come next stand ready. */
  private ahead(exact: number): void {
    const { rate, tracks } = this.document
    const until = exact + (AHEAD * this.editor.pace * rate[0]) / rate[1]
    for (const track of tracks)
      if (track.kind === 'video' && !track.muted)
        for (const { item, at } of placed(track))
          if (
            item.type === 'clip' &&
            item.enabled &&
            !item.source.still &&
            at > exact &&
            at < until &&
            !this.slots.some((slot) => slot.clip === item.id)
          ) {
            const { video } = this.slotOf(item)
            video.pause()
            video.currentTime = middleOf(item, sourceFrame(item, 0, rate))
          }
  }

  private slotOf(clip: Clip): Slot {
    this.uses += 1
    const media = mediaKey(clip.media)
    let slot = this.slots.find((each) => each.clip === clip.id && each.media === media)
    if (!slot) {
      const idle = [...this.slots].sort((a, b) => a.used - b.used)
      slot = this.slots.length < SLOTS ? this.newSlot() : idle[0]!
      if (slot.media !== media) slot.video.src = urlOf(clip.media)
      slot.media = media
      slot.clip = clip.id
    }
    slot.used = this.uses
    return slot
  }

  private newSlot(): Slot {
    const video = document.createElement('video')
    Object.assign(video, { muted: true, preload: 'auto', playsInline: true })
    const slot: Slot = { video, clip: '', media: '', used: 0 }
    const ready = () => {
      if (this.editor.pace === 0) this.refresh()
    }
    video.addEventListener('seeked', ready)
    video.addEventListener('loadeddata', () => {
      if (video.videoWidth === 0) unplayable.set(slot.media, true)
      ready()
    })
    video.addEventListener('error', () => {
      if (slot.media && video.error && video.error.code >= MediaError.MEDIA_ERR_DECODE) unplayable.set(slot.media, true)
      ready()
    })
    this.slots.push(slot)
    return slot
  }

  private draw(layers: readonly Seen[], frame: number): void {
    const { canvas, context, document } = this
    const scale = Math.min(1, WIDEST / document.size[0])
    const [width, height] = document.size.map((side) => Math.round(side * scale)) as [number, number]
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height })
    context.globalAlpha = 1
    context.filter = 'none'
    context.fillStyle = '#000'
    context.fillRect(0, 0, width, height)
    let exact = true
    for (const layer of layers) exact = this.paint(layer, width, height) && exact
    context.globalAlpha = 1
    context.filter = 'none'
    drawTexts(context, document, frame, captionsAt(document, frame, this.captions))
    if (exact) canvas.dataset.frame = String(frame)
    else delete canvas.dataset.frame
  }

  /** Draw one clip; false if what is drawn stands for a frame that is not there yet. */
  private paint({ clip, frame, share, light }: Seen, width: number, height: number): boolean {
    const { context } = this
    const slot = this.slots.find((each) => each.clip === clip.id)
    const still = clip.source.still ? this.stillOf(clip.media) : null
    const video = slot?.video
    const there = still
      ? still.complete && still.naturalWidth > 0
      : Boolean(video && video.readyState >= 2 && video.videoWidth > 0)
    const onTime =
      there &&
      (still !== null ||
        this.editor.pace !== 0 ||
        (!video!.seeking && Math.abs(video!.currentTime - middleOf(clip, frame)) < 1e-3))
    context.globalAlpha = share
    context.filter = light < 1 ? `brightness(${light})` : 'none'
    if (onTime || (there && this.editor.pace !== 0)) {
      const source = still ?? video!
      const size = still ? [still.naturalWidth, still.naturalHeight] : [video!.videoWidth, video!.videoHeight]
      place(context, source, { x: 0, y: 0, width: size[0]!, height: size[1]! }, clip.fit, width, height)
      return true
    }
    wantSheet(clip.media)
    const sheet = sheets.get(mediaKey(clip.media))
    if (sheet) place(context, sheet, cellOf(sheet, frame, clip.source.frames), clip.fit, width, height)
    return unplayable.has(mediaKey(clip.media))
  }

  private stillOf(media: Media): HTMLImageElement {
    const key = mediaKey(media)
    let image = this.stills.get(key)
    if (!image) {
      image = new Image()
      image.onload = () => this.refresh()
      image.src = urlOf(media)
      this.stills.set(key, image)
    }
    return image
  }

  // Sound

  private sound(exact: number): void {
    const { pace, document } = this.editor
    const all = pace > 0 && pace <= 2 && this.audio ? heard(document, Math.floor(exact)) : []
    for (const [id, { element, gain }] of this.voices)
      if (!all.some(({ clip }) => clip.id === id)) {
        element.pause()
        gain.gain.value = 0
        if (pace === 0 && this.voices.size > 8) {
          unload(element)
          this.voices.delete(id)
        }
      }
    for (const { clip, at, level } of all) {
      const { element, gain } = this.voiceOf(clip)
      const rate = (pace * clip.speed[0]) / clip.speed[1]
      if (element.playbackRate !== rate) element.playbackRate = rate
      const due = seconds(clip.in + (exact - at) * stepOf(clip, document.rate), clip.source.rate)
      if (!element.seeking && Math.abs(element.currentTime - due) > DRIFT * Math.max(1, rate)) element.currentTime = due
      if (element.paused) void element.play().catch(() => undefined)
      gain.gain.setTargetAtTime(level, this.audio!.currentTime, 0.01)
    }
  }

  private voiceOf(clip: Clip): Voice {
    let voice = this.voices.get(clip.id)
    if (!voice) {
      const element = new Audio(urlOf(clip.media))
      const gain = this.audio!.createGain()
      gain.gain.value = 0
      this.audio!.createMediaElementSource(element).connect(gain).connect(this.audio!.destination)
      voice = { element, gain }
      this.voices.set(clip.id, voice)
    }
    return voice
  }
}

function unload(element: HTMLMediaElement): void {
  element.pause()
  element.removeAttribute('src')
  element.load()
}

interface Box {
  x: number
  y: number
  width: number
  height: number
}

/** Draw a part of an image over the whole canvas (cover), or as large as it fits into it. */
function place(
  context: CanvasRenderingContext2D,
  image: CanvasImageSource,
  from: Box,
  fit: Clip['fit'],
  width: number,
  height: number,
): void {
  const scale = (fit === 'cover' ? Math.max : Math.min)(width / from.width, height / from.height)
  const [w, h] = [from.width * scale, from.height * scale]
  context.drawImage(image, from.x, from.y, from.width, from.height, (width - w) / 2, (height - h) / 2, w, h)
}
