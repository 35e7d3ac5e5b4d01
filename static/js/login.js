// The login page says that the Control Room needs a cookie, without which signing in leads back to this page.

if (!navigator.cookieEnabled) {
  document.getElementById("no-cookies").hidden = false;
}
