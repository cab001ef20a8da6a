export default {
  title: 'Storyboard',
  new: 'New storyboard',
  intro: 'Write a script: what all shots share first, then a paragraph for each shot. Every shot is made, measured against its words, and made again where it fails.',
  script: 'Script',
  name: 'Name',
  namePlaceholder: 'The script’s title',
  example: 'Fill in an example',
  help: 'Terms of direction are found in the prose, or said on lines such as “Camera: static”. {subject} stands for the shared subject.',
  takes: 'Takes of each shot',
  model: 'Model',
  auto: 'As the script says',
  make: 'Make the storyboard',
  making: 'Sending…',
  shots: (n: number) => (n === 1 ? '1 shot' : `${n} shots`),
  earlier: 'Storyboards',
  none: 'No storyboard yet',
  notFound: 'There is no such storyboard.',
  back: 'All storyboards',
  openScript: 'Edit as a new storyboard',

  shot: (n: number) => `Shot ${n}`,
  made: (made: number, all: number) => `${made} of ${all} shots made`,
  inWork: (n: number) => `${n} in work`,
  failing: 'Not as asked',
  asAsked: 'As asked',
  notMeasured: 'Not measured yet',
  locked: 'Locked',
  lock: 'Lock this take',
  unlock: 'Unlock',
  lockHelp: 'A locked take is the one that is used; its shot is not made again.',
  choose: (n: number) => `Choose take ${n}`,
  take: (n: number) => `Take ${n}`,
  chosen: 'chosen',
  score: (percent: string) => `${percent} as asked`,
  again: 'Again',
  againShot: (n: number) => `Make shot ${n} again`,
  againFailing: (n: number) => (n === 1 ? 'Make the failing shot again' : `Make ${n} failing shots again`),
  againNone: 'No shot fails',
  added: 'New takes are in the queue',
  cancel: 'Cancel all',
  toTimeline: 'To the timeline',
  earlierPlace: 'Move earlier',
  laterPlace: 'Move later',
  movedTo: (shot: number, place: number) => `Shot ${shot} is now number ${place}`,
  scriptOrder: 'Order of the script',
  useInBox: 'Open in Create',
  play: (n: number) => `Play shot ${n}`,
  pause: (n: number) => `Pause shot ${n}`,
  video: (n: number) => `Video of shot ${n}`,
  states: { queued: 'Waiting', running: 'In work', paused: 'Paused', completed: 'Done', failed: 'Failed', cancelled: 'Cancelled' },
  verdicts: { matched: 'as asked', failed: 'not as asked', unchecked: 'not checked' },
  axes: {
    subject: 'Subject', colour: 'Colour', material: 'Material', surroundings: 'Place', action: 'Action', direction: 'Camera direction',
    grip: 'Steadiness', time: 'Time of day', light_source: 'Light source', light_quality: 'Light quality', light_direction: 'Light direction', tone: 'Tone',
    saturation: 'Saturation', contrast: 'Contrast', shot_size: 'Shot size', camera_angle: 'Angle', lens: 'Lens', focus: 'Focus',
    composition: 'Composition', camera: 'Camera', style: 'Style',
  } as Record<string, string>,
  deleted: 'The storyboard is in the trash',
  remove: 'Put into the trash',
  exampleScript: `Title: A red ball's day
Subject: a red ball
Seed: 1

Shot 1: {subject} lies still in a meadow by day. Wide shot.
Camera: static

Shot 2: It rolls right in the desert.
Time: sunset

Shot 3: It lies in the snow at night. Close-up.
Camera: dolly in
`,
}
