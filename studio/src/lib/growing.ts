/** A video that plays while it is made: the bytes of its finished clips, and of each other one when it comes. */

import { ask } from './api'

export const growingVideo = (job: string) => `/v1/videos/${job}/content?variant=stream`

/** Whether this browser plays such a video; `type` is what the event `playable` says. */
export const canPlay = (type: string) => typeof MediaSource !== 'undefined' && MediaSource.isTypeSupported(type)

const BEHIND = 10 // seconds that stay when a buffer is full
const AGAIN = 500 // milliseconds

const once = (target: EventTarget, name: string) => new Promise((resolve) => target.addEventListener(name, resolve, { once: true }))

/** Put bytes into a buffer; where it is full, what was played goes, and the rest waits until more was. */
async function append(buffer: SourceBuffer, bytes: Uint8Array<ArrayBuffer>, video: HTMLVideoElement, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      const done = once(buffer, 'updateend')
      buffer.appendBuffer(bytes)
      await done
      return
    } catch (error) {
      if ((error as DOMException).name !== 'QuotaExceededError') throw error
      if (video.currentTime > BEHIND) {
        const done = once(buffer, 'updateend')
        buffer.remove(0, video.currentTime - BEHIND)
        await done
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN))
    }
  }
}

/** Let an element play what `url` sends, as it comes. Returns how to stop. `failed` is told of an error. */
export function playGrowing(video: HTMLVideoElement, url: string, type: string, failed: (error: unknown) => void): () => void {
  const source = new MediaSource()
  const stop = new AbortController()
  const address = URL.createObjectURL(source)

  async function run() {
    await once(source, 'sourceopen')
    URL.revokeObjectURL(address)
    const buffer = source.addSourceBuffer(type)
    const reader = (await ask(url, { signal: stop.signal })).body!.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done || stop.signal.aborted) break
      await append(buffer, value, video, stop.signal)
      const begin = buffer.buffered.length ? buffer.buffered.start(0) : 0
      if (video.currentTime < begin) video.currentTime = begin // its first frame is shown a little late
    }
    if (source.readyState === 'open') source.endOfStream()
  }

  video.src = address
  run().catch((error: unknown) => stop.signal.aborted || failed(error))
  return () => {
    stop.abort()
    video.removeAttribute('src')
    video.load()
  }
}
