import type en from '../en/storyboard'

const zh: typeof en = {
  title: '分镜',
}
export default zh
