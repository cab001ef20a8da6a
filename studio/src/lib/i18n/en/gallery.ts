export default {
  title: 'Gallery',
}
