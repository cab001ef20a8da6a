export default {
  title: 'Queue',
}
