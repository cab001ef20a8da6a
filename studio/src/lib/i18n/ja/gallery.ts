import type en from '../en/gallery'

const ja: typeof en = {
  title: 'ギャラリー',
}
export default ja
