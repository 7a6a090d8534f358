/**
 * Where a face is: its centre, its width and height along the head, and its roll.
 *
 * @typedef {[number, number]} Point
 *
 * @typedef {object} Pose
 * @property {number} x
 * @property {number} y
 * @property {number} width
 * @property {number} height
 * @property {number} score
 * @property {Point[]} landmarks right eye, left eye, nose, right and left corner of the mouth
 * @property {number} roll degrees clockwise, in (-180, 180]
 */

/**
 * Whether the head lies, so that its height runs along the picture's width.
 *
 * @param {number} roll
 */
export function isSideways(roll) {
  return Math.abs(roll) > 45 && Math.abs(roll) < 135;
}

/**
 * Return an angle in (-180, 180].
 *
 * @param {number} angle
 */
export function wrapped(angle) {
  const rest = (180 - angle) % 360;
  return 180 - (rest < 0 ? rest + 360 : rest);
}

/**
 * Return the corners of a face's box: left, top, right, bottom.
 *
 * @param {Pose} pose
 * @returns {[number, number, number, number]}
 */
export function corners(pose) {
  let [across, down] = [pose.width / 2, pose.height / 2];
  if (isSideways(pose.roll)) [across, down] = [down, across];
  return [pose.x - across, pose.y - down, pose.x + across, pose.y + down];
}
