import type en from '../en/storyboard'

const ja: typeof en = {
  title: '絵コンテ',
}
export default ja
