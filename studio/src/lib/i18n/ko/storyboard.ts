import type en from '../en/storyboard'

const ko: typeof en = {
  title: '스토리보드',
}
export default ko
