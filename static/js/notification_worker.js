// Service worker that shows notifications where a page cannot. It serves no requests.

addEventListener("notificationclick", (event) => {
  const { notification } = event;
  notification.close();
  event.waitUntil(focusPage(notification.data));
});

async function focusPage(url) {
  const pages = await clients.matchAll({ type: "window", includeUncontrolled: true });
  const page = pages.find((open) => open.url === url) ?? pages[0];
  return page ? page.focus() : clients.openWindow(url);
}
