/** Of the hash in their names. */
export const NAME_DIGITS = 16;
/** Names of the device's indexes that Waypost made; what bears such a name without its comment is the owner's. */
export const OWN_NAME = `^waypost_[0-9a-f]{${NAME_DIGITS}}$`;
/** Comments of the device's indexes that Waypost made begin so. */
export const OWN_COMMENT = 'Made by Waypost';
