import type en from '../en/queue'

const ja: typeof en = {
  title: 'キュー',
}
export default ja
