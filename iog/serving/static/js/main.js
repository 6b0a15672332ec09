document.documentElement.dataset.state = "starting";
