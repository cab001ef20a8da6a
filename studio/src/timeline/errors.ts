/** Why an edit is not made. The page shows `timeline.errors[code]`. */
export type EditCode =
  | 'locked' // the track is locked
  | 'missing' // no such clip, track, marker, title or caption
  | 'range' // the source has no more frames, or nothing would be left
  | 'room' // another clip is in the way
  | 'place' // before the beginning, or no clip there
  | 'kind' // video on an audio track, or the other way round
  | 'adjacent' // no two clips that touch
  | 'handles' // no spare frames for a transition
  | 'speed' // beyond 1/4 to 4
  | 'link' // nothing to link, or no sound
  | 'rate' // the rate cannot change while there are clips
  | 'last' // the last track of its kind
  | 'invalid' // `check` says so

export class EditError extends Error {
  constructor(
    readonly code: EditCode,
    detail = '',
  ) {
    super(detail ? `${code}: ${detail}` : code)
    this.name = 'EditError'
  }
}
