export default {
  title: 'Storyboard',
}
